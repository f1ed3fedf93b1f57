"""How finished work gets its name: whole, and never over what may not be replaced."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}
_ASIDE = ".old"
_LONGEST_NAME = 255
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def land(hidden: Path, final: Path, may_replace: Callable[[Path], bool]) -> Path:
    """Give a finished file or folder its name, or the first free one after it.

    Returns:
        the name it got.

    Raises:
        OSError: the file system refuses.
    """
    if may_replace(final) and _replace(hidden, final):
        return final
    return next(name for name in _names(final) if _claim(hidden, name))


def remove(path: Path) -> None:
    """Remove a file or a folder, if there is one and it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def remove_orphans(final: Path, start: str) -> None:
    """Remove what processes that are no more have left.

    Args:
        final: what they wrote.
        start: of the hidden names beside it; the number of the process follows.
    """
    if sys.platform == "win32":  # there is no harmless question there
        return
    for left in final.parent.glob(f"{start}*"):
        number = left.stem.removeprefix(start)
        if not (number.isascii() and number.isdecimal()):
            continue
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            if left.suffix == _ASIDE and not os.path.lexists(final):
                left.rename(final)  # killed between two renames
            else:
                remove(left)
        except (OSError, OverflowError):
            pass  # somebody else's process, which lives


def _replace(hidden: Path, final: Path) -> bool:
    """Take the place of what is there; False when it is of another kind."""
    try:
        hidden.replace(final)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        if not (hidden.is_dir() and final.is_dir()):
            return False
        # a folder with something in it
        if not _exchange(hidden, final):
            aside = hidden.with_name(hidden.name + _ASIDE)
            final.rename(aside)
            hidden.rename(final)
            remove(aside)
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False when this system can't."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _claim(hidden: Path, name: Path) -> bool:
    """Take a name unless it is taken."""
    try:
        if hidden.is_dir():
            hidden.rename(name)  # replaces nothing but an empty folder
            return True
        try:
            os.link(hidden, name)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            # no second names on this file system: reserve the name, then take it
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            hidden.replace(name)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _names(final: Path) -> Iterator[Path]:
    """``name``, ``name-2``, ``name-3`` …, shortened where the file system asks for it."""
    yield final
    for number in itertools.count(2):
        stem, end = final.stem, f"-{number}{final.suffix}"
        while len(os.fsencode(stem + end)) > _LONGEST_NAME:
            stem = stem[:-1]
        yield final.with_name(stem + end)
