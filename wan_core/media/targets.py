"""``check_target``, ``check_png``: what can be known of a target before anything is computed."""

from __future__ import annotations

import os
import stat
from fractions import Fraction
from pathlib import Path

from wan_core.contract.errors import MediaError, ResourceError
from wan_core.contract.options import show
from wan_core.media.files import file_errors
from wan_core.media.formats import MAX_PIXELS, Format, format_of
from wan_core.media.patterns import Pattern, suggested
from wan_core.media.space import check_space

_OVERWRITE = "say overwrite = true under [output], or --overwrite, or use a name like {name}-{n}"

PNG = ".png"
MOST_FOLDERS = 100
"""More folders inside each other than anybody means, made for one video."""


def check_target(
    path: Path | str,
    *,
    width: int | None = None,
    height: int | None = None,
    frames: int | None = None,
    fps: float | Fraction | None = None,
    overwrite: bool = True,
    where: str = "",
) -> Format:
    """Find out, before anything is computed, whether such a video can be written there.

    Args:
        width, height: of the video in pixels, where known.
        frames: their number, where known; with the size it tells whether the disk has room.
        fps: frames per second, where known.
        overwrite: an existing video is replaced.
        where: where the path was given, for the error.

    Returns:
        the format of the path's suffix.

    Raises:
        MediaError: unknown suffix, an existing file, a size or rate that does not fit, something in
            the way that is no video, a name that the file system refuses.
        ResourceError: the folder may not be written to, or the disk has no room.
    """
    path = Path(path)
    with file_errors(where or str(path)):
        known = _check_name(path, overwrite=overwrite, where=where)
    check_size(path, known, width, height, where=where)
    if fps is not None and fps > known.fastest:
        raise MediaError(
            f"{float(fps):g} frames per second can't be kept in {path.suffix}",
            where=where,
            remedy=f"use {known.fastest} at most, or another format",
        )
    if width and height and frames:
        check_space(path, width, height, frames, where=where)
    return known


def check_png(path: Path, *, overwrite: bool) -> None:
    """Find out whether a single picture can be written there.

    Raises:
        MediaError: the suffix is not ``.png``, or something is in the way.
        ResourceError: the folder may not be written to.
    """
    if path.suffix.lower() != PNG:
        raise MediaError(
            f"a picture is not written as {show(path.name)}", remedy=f"end it in {PNG}"
        )
    with file_errors(str(path)):
        if _is_file(path, "") and not overwrite:
            raise MediaError(
                f"{path} exists already", remedy="say --overwrite, or name another file"
            )
        _check_folder(Path(os.path.realpath(path)), "")


def check_size(
    path: Path, known: Format, width: int | None, height: int | None, *, where: str = ""
) -> None:
    """Check that a format can hold pictures of a size.

    Raises:
        MediaError: it can't.
    """
    for side, pixels in (("width", width), ("height", height)):
        if pixels is None:
            continue
        if pixels < 1 or pixels % known.size_multiple:
            raise MediaError(
                f"{side} {pixels} can't be written as {path.suffix}",
                where=where,
                remedy=f"use a multiple of {known.size_multiple}",
            )
        if pixels > known.largest_side:
            raise MediaError(
                f"{side} {pixels} can't be written as {path.suffix}",
                where=where,
                remedy=f"use {known.largest_side} at most",
            )
    if width and height and width * height > MAX_PIXELS:
        raise MediaError(
            f"{width}x{height} is too large for a video",
            where=where,
            remedy=f"use {MAX_PIXELS} pixels at most",
        )


def may_replace(path: Path, pattern: Pattern | None) -> bool:
    """Whether a video may take the place of what is at ``path``: nothing, or a video of its kind.

    Args:
        path: without links.
        pattern: names of the pictures, for a folder of pictures.
    """
    mode = _mode(path)
    if mode is None:
        return True
    if pattern is None:
        return stat.S_ISREG(mode)
    return stat.S_ISDIR(mode) and _stranger(path, pattern) is None


def _check_name(path: Path, *, overwrite: bool, where: str) -> Format:
    is_there = _is_file(path, where)
    known = format_of(path, where=where)
    if known.folder:
        _check_sequence(path, overwrite=overwrite, where=where)
        return known
    if is_there and not overwrite:
        raise MediaError(f"{path} exists already", where=where, remedy=_OVERWRITE)
    _check_folder(Path(os.path.realpath(path)), where)
    return known


def _is_file(path: Path, where: str) -> bool:
    """Whether an ordinary file is there; anything else that is there is refused."""
    mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise MediaError(f"{path} is a folder", where=where, remedy="name a file")
    if mode is not None and not stat.S_ISREG(mode):
        # a file takes the place of what is there, which no device and no pipe would survive
        raise MediaError(f"{path} is no ordinary file", where=where, remedy="choose another name")
    return mode is not None


def _check_sequence(path: Path, *, overwrite: bool, where: str) -> None:
    pattern = Pattern.of(path, where=where)
    own = f'give the frames a folder of their own, such as "{suggested(path)}"'
    folder = Path(os.path.realpath(path.parent))
    mode = _mode(folder)
    if mode is None:
        _check_folder(folder, where)
    elif not stat.S_ISDIR(mode):
        raise MediaError(f"{path.parent} is a file, not a folder", where=where)
    elif folder == Path(os.path.realpath(".")) or folder.is_mount():
        # the folder is made under another name and renamed, which these can't be
        raise MediaError(
            f"{folder} can't become a folder of frames as a whole", where=where, remedy=own
        )
    else:
        if stranger := _stranger(folder, pattern):
            raise MediaError(
                f"folder {path.parent} holds other things than such frames: {show(stranger)}",
                where=where,
                remedy=own,
            )
        if not overwrite and any(folder.iterdir()):
            raise MediaError(f"folder {path.parent} exists already", where=where, remedy=_OVERWRITE)
        _check_writable(folder, where)
        _check_writable(folder.parent, where)
    existing = next(f for f in (folder, *folder.parents) if _mode(f) is not None)
    _mode(existing / pattern.name(0))  # raises when it is too long


def _stranger(folder: Path, pattern: Pattern) -> str | None:
    """The name of something in a folder that is no frame of the pattern."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if pattern.number(entry.name) is None or not entry.is_file(follow_symlinks=False):
                return entry.name
    return None


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
    _check_writable(existing, where)
    missing = path.relative_to(existing).parts
    if len(missing) > MOST_FOLDERS:
        raise MediaError(
            f"{len(missing) - 1} folders would have to be made, one in the other",
            where=where,
            remedy="use a shorter path",
        )
    for name in missing:
        _mode(existing / name)  # raises when a name is too long for this file system


def _check_writable(folder: Path, where: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResourceError(
            f"folder {folder} may not be written to",
            where=where,
            remedy="change its permissions or write somewhere else",
        )
