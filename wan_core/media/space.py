"""Room on the disk: what a video will take, and what is left."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from wan_core.contract.errors import ResourceError
from wan_core.media.formats import format_of

_OVERHEAD = 64 * 1024
_PER_FRAME = 512


def estimate_bytes(path: Path | str, width: int, height: int, frames: int) -> int:
    """The size of a video that is yet to be written: more than it usually takes.

    Counted are the format's ``bits_per_pixel`` (a lossless frame as if it were not compressed), and
    something for headers.

    Args:
        path: its suffix tells the format.
        width, height: in pixels.

    Raises:
        MediaError: unknown suffix.
    """
    known = format_of(Path(path))
    frame = math.ceil(width * height * known.bits_per_pixel / 8) + _PER_FRAME
    return _OVERHEAD + frames * frame


def free_space(path: Path | str) -> int:
    """Bytes that may still be written where ``path`` is, or will be."""
    path = Path(path).absolute()
    return shutil.disk_usage(next(f for f in (path, *path.parents) if f.exists())).free


def check_space(path: Path, width: int, height: int, frames: int, *, where: str = "") -> None:
    """Check that a video fits on the disk.

    Raises:
        ResourceError: it is not likely to.
    """
    free, needed = free_space(path.parent), estimate_bytes(path, width, height, frames)
    if needed > free:
        raise ResourceError(
            f"the disk has {_size(free)} left, this video is predicted to need about "
            f"{_size(needed)}",
            where=where,
            remedy="free some space or write somewhere else",
        )


def _size(count: int) -> str:
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
