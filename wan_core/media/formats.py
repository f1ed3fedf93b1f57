"""The table of file formats, and what can be checked of a target before anything is computed."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import attrs

from wan_core.contract.errors import MediaError, ResourceError
from wan_core.media.files import file_errors


@attrs.frozen
class Format:
    """How the video in a file is encoded; the names are FFmpeg's.

    Attributes:
        container: the muxer, and its options.
        codec: the encoder, and its options.
        pixels: the pixel format that is encoded.
        size_multiple: width and height must be multiples of it.
    """

    container: str
    codec: str
    pixels: str
    size_multiple: int
    container_options: Mapping[str, str]
    codec_options: Mapping[str, str]


FORMATS: Mapping[str, Format] = {
    # crf 16 can't be told from the original by eye; 4:2:0 plays everywhere but wants even sizes;
    # faststart puts the index first, so that a browser plays before it has everything
    ".mp4": Format(
        container="mp4",
        codec="libx264",
        pixels="yuv420p",
        size_multiple=2,
        container_options={"movflags": "+faststart"},
        # x264's macroblock tree gives other bits from run to run at some widths; without it the same
        # frames give the same file
        codec_options={"crf": "16", "preset": "medium", "x264-params": "no-mbtree=1"},
    ),
}


def check_target(
    path: Path | str,
    *,
    width: int | None = None,
    height: int | None = None,
    overwrite: bool = True,
    where: str = "",
) -> Format:
    """Find out, before anything is computed, whether a video of this size can be written there.

    Args:
        width, height: of the video in pixels, where known.
        overwrite: an existing file is replaced.
        where: where the path was given, for the error.

    Returns:
        the format of the path's suffix.

    Raises:
        MediaError: unknown suffix, an existing file, a size that does not fit, something in the way
            that is no ordinary file, a name that the file system refuses.
        ResourceError: the folder may not be written to.
    """
    path = Path(path)
    with file_errors(where or str(path)):
        mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise MediaError(f"{path} is a folder", where=where, remedy="name a file")
    if mode is not None and not stat.S_ISREG(mode):
        # a video takes the place of what is there, which no device and no pipe would survive
        raise MediaError(f"{path} is no ordinary file", where=where, remedy="choose another name")
    known = FORMATS.get(path.suffix.lower())
    if known is None:
        raise MediaError(
            f'a video can\'t be written as "{path.name}"',
            where=where,
            remedy="supported are the suffixes " + ", ".join(FORMATS),
        )
    if mode is not None and not overwrite:
        raise MediaError(f"{path} exists already", where=where, remedy="choose another name")
    with file_errors(where or str(path)):
        _check_folder(Path(os.path.realpath(path)), where)
    for side, pixels in (("width", width), ("height", height)):
        if pixels is not None and (pixels < 1 or pixels % known.size_multiple):
            raise MediaError(
                f"{side} {pixels} can't be written as {path.suffix}",
                where=where,
                remedy=f"use a multiple of {known.size_multiple}",
            )
    return known


def _mode(path: Path) -> int | None:
    """What ``path`` leads to; None when nothing is there."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_folder(path: Path, where: str) -> None:
    """Check that ``path``, where nothing or a file is, can be made."""
    existing = next(f for f in path.parents if _mode(f) is not None)
    if not existing.is_dir():
        raise MediaError(f"{existing} is a file, not a folder", where=where)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ResourceError(
            f"folder {existing} may not be written to",
            where=where,
            remedy="change its permissions or write somewhere else",
        )
    for name in path.relative_to(existing).parts:
        _mode(existing / name)  # raises when a name is too long for this file system


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as the fraction that is meant: 12.5 -> 25/2, 23.976 -> 24000/1001.

    Raises:
        MediaError: not a positive number up to 1000.
    """
    if not (math.isfinite(fps) and 0 < fps <= 1000):
        raise MediaError(f"{fps} frames per second is no frame rate", remedy="use 1 to 1000")
    if isinstance(fps, Fraction):
        return fps
    for whole in (24, 30, 48, 60, 120):
        # 23.976, 29.97, 59.94 … are short for these
        broadcast = Fraction(whole * 1000, 1001)
        if abs(fps - broadcast) < 0.005:
            return broadcast
    return Fraction(fps).limit_denominator(1001)
