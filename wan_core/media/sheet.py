"""``contact_sheet``: some frames of a video side by side, as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]], *, columns: int | None = None, gap: int = 2
) -> bytes:
    """Lay frames out in rows, left to right.

    Args:
        frames: ``[height, width, 3]`` uint8, all of one size.
        columns: frames per row; all in one row when None.
        gap: white pixels between frames.

    Returns:
        a PNG file.

    Raises:
        ValueError: there are no frames.
    """
    from PIL import Image

    if not len(frames):
        raise ValueError("a contact sheet needs at least one frame")
    columns = min(columns or len(frames), len(frames))
    rows = -(-len(frames) // columns)
    height, width = frames[0].shape[:2]
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(frame), (column * (width + gap), row * (height + gap)))
    png = io.BytesIO()
    sheet.save(png, "PNG", optimize=True)
    return png.getvalue()
