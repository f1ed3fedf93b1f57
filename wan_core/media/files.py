"""A file appears under its name only when it is complete."""

from __future__ import annotations

import errno
import os
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
    parent folders are made; a link is followed.

    Raises:
        ResourceError: the disk is full, or the folder may not be written to.
        MediaError: another failure of the file system.
    """
    final = Path(os.path.realpath(path))
    partial = final.with_name(f".{final.stem}.partial-{os.getpid()}{final.suffix}")
    try:
        with file_errors(path):
            final.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
        yield partial
        with file_errors(path):
            _sync(partial)
            partial.replace(final)
            _sync(final.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn failures of the file system into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise ResourceError(
                "the disk is full",
                where=str(path),
                remedy="free some space or write somewhere else",
            ) from error
        if error.errno in _FORBIDDEN:
            raise ResourceError(
                f"this place may not be written to ({reason})",
                where=str(path),
                remedy="change its permissions or write somewhere else",
            ) from error
        raise MediaError(f"can't be written ({reason})", where=str(path)) from error


def _sync(path: Path) -> None:
    # not every file system can sync a folder, and none needs it to show the new name
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
