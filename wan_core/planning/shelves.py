"""What lies in a folder of weights: one quick look through it, at names only.

A folder may be anything that people keep weights in: ComfyUI's ``models``, a folder of downloads, or the cache
of the Hugging Face Hub, which keeps each repository as ``models--ORG--NAME/snapshots/COMMIT/path``. Nothing is
opened, links are followed, and a look is bounded however large or tangled the folder is.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import attrs

from wan_core.contract.options import show

MOST_ENTRIES = 200_000
MOST_LEVELS = 12
PICKLES = (".pth", ".pt", ".ckpt", ".bin")
INDEX = ".safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "spiece.model")
WANTED = (".safetensors", INDEX, ".gguf", *PICKLES, *TOKENIZERS)
"""Ends of the names of files that are worth remembering."""

COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = "models--"
_OTHER_REPOSITORIES = ("datasets--", "spaces--", "kernels--")


class Item(NamedTuple):
    """A weight file, a tokenizer, or a folder that holds one of them.

    Attributes:
        parts: the whole path by which it can be named, ``("…", "vae", "wan_2.1_vae.safetensors")``; of the
            Hub's cache ``("ORG", "NAME", …)``.
        folder, name: where it is; a folder has no name.
    """

    parts: tuple[str, ...]
    folder: str
    name: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.folder, self.name)


@attrs.frozen
class Shelf:
    """What a folder held when it was looked through.

    Attributes:
        folder: the folder.
        named: last part of a name -> the items that end so.
        repositories: ``"ORG/NAME"`` -> its folder in a cache of the Hub.
        troubles: what could not be looked at, a sentence each.
        seen: when it was looked through (``time.monotonic``).
    """

    folder: Path
    named: Mapping[str, Sequence[Item]]
    repositories: Mapping[str, Path]
    troubles: tuple[str, ...]
    seen: float

    def items(self) -> Iterator[Item]:
        """All items."""
        for items in self.named.values():
            yield from items


_seen: dict[Path, Shelf] = {}


def shelf(folder: Path, *, oldest: float = 0.0) -> Shelf:
    """What a folder holds; each is looked through once in a process.

    Args:
        oldest: a look from before this moment (``time.monotonic``) is not good enough.
    """
    known = _seen.get(folder)
    if known is None or known.seen < oldest:
        known = _seen[folder] = look_through(folder)
    return known


def forget(folder: Path) -> None:
    """The folder has changed: look through it when it is needed next."""
    _seen.pop(folder, None)


def look_through(folder: Path) -> Shelf:
    """Look through a folder now; one that is not there is empty."""
    start = time.monotonic()
    walk = _Walk()
    if folder.is_dir():
        walk.enter(str(folder), folder.parts, frozenset())
        if walk.left < 0:
            walk.troubles.append(
                f"{show(folder)} holds more than {MOST_ENTRIES:,} files, the rest was not looked at"
            )
    return Shelf(folder, walk.named, walk.repositories, tuple(walk.troubles), start)


class _Walk:
    """One look: what was found so far, and how many entries may still be looked at."""

    def __init__(self) -> None:
        self.named: defaultdict[str, list[Item]] = defaultdict(list)
        self.repositories: dict[str, Path] = {}
        self.troubles: list[str] = []
        self.left = MOST_ENTRIES
        # of the repository that is walked: names that an earlier snapshot has given already
        self._given: set[tuple[str, ...]] | None = None

    def enter(self, folder: str, parts: tuple[str, ...], above: frozenset[tuple[int, int]]) -> None:
        """Look at a folder and all below it; ``above`` are the folders that lead here."""
        if self.left < 0 or len(above) > MOST_LEVELS:
            return
        try:
            info = os.stat(folder)  # noqa: PTH116 (a Path for each of 200,000 folders is slow)
            here = (info.st_dev, info.st_ino)
            if here in above:  # a link that leads back
                return
            with os.scandir(folder) as listing:
                entries = sorted(islice(listing, self.left + 1), key=lambda entry: entry.name)
        except OSError as error:
            self.troubles.append(f"{show(Path(folder))} can't be read ({error.strerror})")
            return
        self.left -= len(entries)
        files, folders = _sorted(entries)
        for name in files:
            self._note((*parts, name), folder, name)
        if holds_weights(files):
            self._note(parts, folder, "")
        for name in folders:
            if name.startswith(_REPOSITORY) and self._given is None:
                self._repository(f"{folder}/{name}", name, above | {here})
            elif not name.startswith(_OTHER_REPOSITORIES):
                self.enter(f"{folder}/{name}", (*parts, name), above | {here})

    def _note(self, parts: tuple[str, ...], folder: str, name: str) -> None:
        if self._given is not None:
            if parts in self._given:
                return
            self._given.add(parts)
        self.named[parts[-1]].append(Item(parts, folder, name))

    def _repository(self, folder: str, name: str, above: frozenset[tuple[int, int]]) -> None:
        """A repository in a cache of the Hub: its newest snapshot, and what only older ones have."""
        parts = tuple(name.removeprefix(_REPOSITORY).split("--"))
        self._given = set()
        for snapshot in _snapshots(Path(folder)):
            self.repositories["/".join(parts)] = Path(folder)
            self.enter(str(snapshot), parts, above)
        self._given = None


def _sorted(entries: Sequence[os.DirEntry[str]]) -> tuple[list[str], list[str]]:
    """Names of the files that matter and of the folders; hidden ones are left alone."""
    files, folders = [], []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.name.endswith(WANTED) and entry.is_file():
                files.append(entry.name)
        except OSError:  # a link that leads nowhere
            continue
    return files, folders


def holds_weights(files: Sequence[str]) -> bool:
    """Whether a folder with these files can be named for one checkpoint, or for a tokenizer."""
    for ends in (INDEX, ".safetensors", PICKLES):
        if found := sum(name.endswith(ends) for name in files):
            return found == 1
    return any(name in TOKENIZERS for name in files)


def _snapshots(repository: Path) -> list[Path]:
    """The snapshots of a repository: the one that ``main`` means, then the others, the newest first."""
    main = ""
    try:
        with (repository / "refs" / "main").open("rb") as ref:
            main = ref.read(64).decode("ascii", "replace").strip()
    except OSError:
        pass
    dated = []
    try:
        for path in (repository / "snapshots").iterdir():
            if COMMIT.fullmatch(path.name):
                dated.append((path.name == main, path.stat().st_mtime, path))
    except OSError:
        return []
    return [path for *_, path in sorted(dated, reverse=True)]
