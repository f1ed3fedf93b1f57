"""A file appears under its name only when it is complete."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wan_core.contract.errors import MediaError, ResourceError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Hand out a hidden file beside ``path``, which takes that name at the end.

    After an error, Ctrl-C included, the hidden file is gone and ``path`` is as it was. Missing
    parent folders are made; a link is followed. What a killed process has left for the same path is
    removed.

    Raises:
        ResourceError: the disk is full, or the folder may not be written to.
        MediaError: another failure of the file system.
    """
    final = Path(os.path.realpath(path))
    # short, so that whatever name fits into the folder has a hidden one that fits too
    key = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:8]
    partial = final.with_name(f".wan-{key}-{os.getpid()}{final.suffix}")
    try:
        with file_errors(str(path)):
            final.parent.mkdir(parents=True, exist_ok=True)
            _remove_orphans(final.parent, f".wan-{key}-")
            partial.touch()
        yield partial
        with file_errors(str(path)):
            _sync(partial)
            partial.replace(final)
            _sync(final.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


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


def _remove_orphans(folder: Path, start: str) -> None:
    """Remove hidden files whose process (the number after ``start``) is no more."""
    if sys.platform == "win32":  # there is no harmless question there
        return
    for left in folder.glob(f"{start}*"):
        number = left.stem.removeprefix(start)
        if not number.isdecimal():
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            with suppress(OSError):
                left.unlink()
        except (OSError, OverflowError):
            pass  # somebody else's process, which lives


def _sync(path: Path) -> None:
    # not every file system can sync a folder, and none needs it to show the new name
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
