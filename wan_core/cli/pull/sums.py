"""Sums of files: SHA-256, and git's names for contents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

CHUNK = 4 * 2**20


def sha256_of(path: Path, tick: Callable[[int], None] = lambda done: None) -> str:
    """SHA-256 of a file; ``tick`` is told how many bytes are read, now and then."""
    return _digest(hashlib.sha256(), path, tick)


def git_name_of(path: Path) -> str:
    """The name that git has for a file's content: what the Hub says of files that it keeps in git."""
    sum_ = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    return _digest(sum_, path, lambda done: None)


def _digest(sum_: hashlib._Hash, path: Path, tick: Callable[[int], None]) -> str:
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sum_.update(chunk)
            done += len(chunk)
            tick(done)
    return sum_.hexdigest()
