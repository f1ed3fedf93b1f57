"""``write_png``: a single picture, which appears when it is complete."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from wan_core.media.files import file_errors, replacing
from wan_core.media.targets import check_png, may_replace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def write_png(path: Path | str, picture: NDArray[np.uint8], *, overwrite: bool = False) -> Path:
    """Write a picture as PNG; where it is.

    Args:
        path: it ends in ``.png``; missing folders are made.
        picture: ``[height, width, 3]``.
        overwrite: a file that is there is replaced. If not, and one has appeared since the start, the picture
            takes the next free name (``name-2.png``).

    Raises:
        MediaError: another suffix, or something in the way.
        ResourceError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    check_png(path, overwrite=overwrite)
    with (
        replacing(
            path, may_replace=lambda place: overwrite and may_replace(place, None)
        ) as partial,
        file_errors(str(path)),
    ):
        Image.fromarray(picture).save(partial.hidden, "PNG")
    return partial.path
