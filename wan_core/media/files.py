"""A file, or a folder of files, appears under its name only when it is complete."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from wan_core.contract.errors import MediaError, ResourceError
from wan_core.media.landing import land, remove, remove_orphans

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}

_in_use: set[Path] = set()


@attrs.define
class Partial:
    """What is being written.

    Attributes:
        hidden: the file or folder to write to.
        path: where it will appear; after the end, where it is.
    """

    hidden: Path
    path: Path


@contextmanager
def replacing(
    path: Path, *, folder: bool = False, may_replace: Callable[[Path], bool]
) -> Iterator[Partial]:
    """Hand out a hidden file or folder beside ``path``, which takes that name at the end.

    After an error, Ctrl-C included, the hidden one is gone and ``path`` is as it was. Missing parent
    folders are made; a link is followed. What a killed process has left for the same path is
    removed.

    Args:
        folder: make a folder.
        may_replace: asked at the end whether what then is at the path it is given may be replaced. If
            not, the finished work takes the first free name of ``name-2``, ``name-3`` …

    Raises:
        ResourceError: the disk is full, or the folder may not be written to.
        MediaError: another failure of the file system; this process is writing there already.
    """
    final = Path(os.path.realpath(path))
    # short, so that whatever name fits into the folder has a hidden one that fits too
    key = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:8]
    suffix = "" if folder else final.suffix
    hidden = final.with_name(f".wan-{key}-{os.getpid()}{suffix}")
    if hidden in _in_use:
        raise MediaError("is being written already", where=str(path))
    _in_use.add(hidden)
    partial = Partial(hidden, path)
    try:
        with file_errors(str(path)):
            final.parent.mkdir(parents=True, exist_ok=True)
            remove_orphans(final, f".wan-{key}-")
            remove(hidden)  # of an earlier process with our number
            hidden.mkdir() if folder else hidden.touch()
        yield partial
        with file_errors(str(path)):
            _sync_all(hidden)
            partial.path = _in_words(land(hidden, final, may_replace), final, path)
            _sync(final.parent)
    finally:
        remove(hidden)
        _in_use.discard(hidden)


@contextmanager
def file_errors(where: str) -> Iterator[None]:
    """Turn failures of the file system into one sentence about the place ``where``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise ResourceError(
                "the disk is full",
                where=where,
                remedy="free some space or write somewhere else",
            ) from error
        if error.errno in _FORBIDDEN:
            raise ResourceError(
                f"this place may not be written to ({reason})",
                where=where,
                remedy="change its permissions or write somewhere else",
            ) from error
        raise MediaError(f"can't be written ({reason})", where=where) from error


def _in_words(landed: Path, final: Path, path: Path) -> Path:
    """``landed`` as whoever said ``path``, which led to ``final``, would say it."""
    if landed == final:
        return path
    follows = os.path.realpath(path.parent) == str(final.parent)
    return path.with_name(landed.name) if follows else landed


def _sync_all(path: Path) -> None:
    if path.is_dir():
        for one in path.iterdir():
            _sync(one)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # not every file system can sync a folder, and none needs it to show the new name
        if error.errno in _FULL or error.errno == errno.EIO:
            raise
    finally:
        os.close(descriptor)
