"""What the cache folder holds, and clearing it: only files that wan-core itself has named."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs

from wan_core.config import cache_folder
from wan_core.engine.unfinished import RUN, is_free
from wan_core.weights import printable


@attrs.frozen
class Sort:
    """One sort of things in the cache folder.

    Attributes:
        title: in the plural.
        folder: under the cache folder.
        names: what we call them; whatever else lies there is not ours to delete.
        option: of ``wan-core doctor``, deletes them.
        is_leftover: whether they are left only by runs that failed.
    """

    title: str
    folder: str
    names: re.Pattern[str]
    option: str
    is_leftover: bool = False


TEXTS = Sort(
    "encoded prompts",
    "text",
    re.compile(r"[0-9a-f]{64}\.safetensors|tmp\w+\.partial"),
    "--clean-caches",
)
COMPILED = Sort(
    "folders of compiled code",
    "compiled",
    re.compile(r"[\w.+]+(-[\w.+]+){3}", re.ASCII),
    "--clean-caches",
)
KEPT = Sort(
    "kept results of runs that did not finish",
    "runs",
    RUN,
    "--clean-kept",
    is_leftover=True,
)
SORTS = (TEXTS, COMPILED, KEPT)


def entries(sort: Sort) -> Iterator[Path]:
    """The files or folders of that sort; what links lead to is somewhere else, and not ours."""
    folder = cache_folder() / sort.folder
    if folder.is_symlink():
        return
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if sort.names.fullmatch(path.name) and not path.is_symlink():
                yield path


def inventory(sort: Sort) -> tuple[int, int]:
    """How many there are, and their bytes."""
    sizes = [_size(path) for path in entries(sort)]
    return len(sizes), sum(sizes)


@attrs.frozen
class Cleaned:
    """What became of deleting things of one sort.

    Attributes:
        count: how many are gone.
        nbytes: that are free now.
        stuck: what could not be deleted, and why, for people; ``""`` = nothing.
    """

    count: int
    nbytes: int
    stuck: str = ""


def clean(sort: Sort) -> Cleaned:
    """Delete them. What can't be deleted stays, and is told."""
    count = freed = 0
    stuck: list[str] = []
    for path in entries(sort):
        if sort is KEPT and path.is_dir() and not is_free(path):
            continue  # it is still going on
        size = _size(path)
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)  # what else is in it
            freed += size - _size(path)
            stuck.append(f"{path} ({error.strerror or type(error).__name__})")
            continue
        count, freed = count + 1, freed + size
    more = f" and {len(stuck) - 1} more" if len(stuck) > 1 else ""
    return Cleaned(count, freed, f"{printable(stuck[0])}{more}" if stuck else "")


def _size(path: Path) -> int:
    if not path.is_dir():
        return _bytes(path)
    # other runs use the folder, too: whatever is in it may be gone by now, which walk passes over
    return sum(_bytes(Path(at, name)) for at, _, names in os.walk(path) for name in names)


def _bytes(file: Path) -> int:
    try:
        return file.lstat().st_size
    except OSError:
        return 0
