"""How much of a file the system holds in memory already: what is there needs no disk."""

from __future__ import annotations

import os
from pathlib import Path

SAMPLES = 64


def cached_share(path: Path) -> float:
    """Share of the file in the page cache, 0 … 1, from samples all over it.

    Nothing is read from the disk. 0 where the system can't say (only Linux can), and for folders and
    indices of shards.
    """
    if not hasattr(os, "RWF_NOWAIT") or not path.is_file():
        return 0.0
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            places = [size * index // SAMPLES for index in range(SAMPLES)]
            return sum(_is_cached(file.fileno(), place) for place in places) / SAMPLES
    except OSError:  # a file system that knows no such question
        return 0.0


def _is_cached(descriptor: int, place: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(1)], place, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
