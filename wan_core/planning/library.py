"""The library: finds weight files by name in the folders where this machine keeps them.

A workflow names a file by the end of its path (``"wan_2.1_vae.safetensors"``, ``"vae/wan_2.1_vae.safetensors"``
or ``"Wan2.1-T2V-1.3B/Wan2.1_VAE.pth"``); two files that differ and have the same name are nobody's guess.
Imports no torch.
"""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath

from wan_core.config import huggingface_folder, load_config, model_folders
from wan_core.contract.descriptions import PublishedFile
from wan_core.contract.errors import WeightsError, WorkflowError
from wan_core.contract.options import show
from wan_core.planning.shelves import Shelf, forget, shelf
from wan_core.weights import content_fingerprint
from wan_core.weights.files import INDEX_SUFFIX, is_shard

MOST_SHOWN = 6
FRESH = 2.0
"""Seconds for which what was seen in a folder is taken for what is there, when something is missing."""

_BLOB = re.compile(r"[0-9a-f]{64}")
_NAMES_COMPARED = 2000
_PACKAGE = Path(__file__).parent.parent / "models"


class Library:
    """The folders with weight files, in the order in which they are searched.

    They are looked through on first use, once in a process; again when something is not found.

    Args:
        folders: may be missing. Of a folder that holds a whole ComfyUI only its ``models`` are meant.
        confined: only files that lie in the folders may be used: for a workflow that comes from a stranger.

    Attributes:
        folders: as given, ComfyUI's replaced.
        confined: as given.
    """

    def __init__(self, folders: Iterable[Path], confined: bool = False) -> None:
        self.folders = tuple(dict.fromkeys(map(_models_of_comfyui, folders)))
        self.confined = confined

    @property
    def missing(self) -> tuple[Path, ...]:
        """Folders that are not there (a machine without the Hub's cache is none of them)."""
        usual = huggingface_folder()
        return tuple(one for one in self.folders if one != usual and not one.is_dir())

    @property
    def troubles(self) -> tuple[str, ...]:
        """What could not be looked at, a sentence each."""
        return tuple(trouble for one in self._shelves() for trouble in one.troubles)

    def contains(self, path: Path) -> bool:
        """Whether a file lies in the folders, or is part of the package, all links resolved."""
        try:
            real = path.resolve()
            return any(real.is_relative_to(one.resolve()) for one in (*self.folders, _PACKAGE))
        except (OSError, RuntimeError):  # links in a circle
            return False

    def find(self, name: PurePath | str) -> Path | None:
        """The file or folder whose path ends with ``name``; None when no folder has one.

        Raises:
            WorkflowError: there are several that differ; copies of one file count once.
        """
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts:
            return None
        found = self._search(lambda one: _ending_with(one, parts), everywhere=True)
        if found is not None and len(found) > 1:
            found = _copies_once(found)
        if found is not None and len(found) > 1:
            shown = ", ".join(show(path) for path in found[:MOST_SHOWN])
            more = f" and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
            raise WorkflowError(
                f"{show(str(name))} could be {len(found)} files: {shown}{more}",
                remedy="name more of the path",
            )
        return found[0] if found else None

    def holds(self, file: PublishedFile) -> Path | None:
        """Where a published file is, or None.

        That is, in a cache of the Hub, the file of the commit that is meant; else one under the name of its
        repository; else, where its size is known and it is no shard, one of the same name and size. For a
        pattern it is the folder that has such files, or the only one.
        """
        found = self._search(
            lambda one: islice(_published(one, file), None if file.is_pattern else 1)
        )
        if not found:
            return None
        if file.is_pattern and len(found) > 1:
            return found[0].parent
        return found[0]

    def component(self, published: Sequence[PublishedFile]) -> Path | None:
        """Where a component is: its first published file, when those that belong to it lie beside it."""
        own = [file for file in published if not file.slot]
        if not own:
            return None
        main, *others = own
        if not others:
            return self.holds(main)
        found = self._search(
            lambda one: (path for path in _published(one, main) if _complete(path, main, others))
        )
        return found[0] if found else None

    def look_again(self) -> None:
        """Look through the folders again when they are needed next: they have changed."""
        for folder in self.folders:
            forget(folder)

    def nearest(self, name: str) -> str:
        """The name of a file here that is much like ``name``; empty when there is none."""
        # without endings, which are alike in all names
        ends = (end for one in self._shelves() for end in one.named if end.isprintable())
        stems = {_stem(end): end for end in islice(ends, _NAMES_COMPARED)}
        close = difflib.get_close_matches(_stem(PurePosixPath(name).name), stems, n=1, cutoff=0.75)
        return stems[close[0]] if close else ""

    def _shelves(self, oldest: float = 0.0) -> list[Shelf]:
        return [shelf(folder, oldest=oldest) for folder in self.folders]

    def _search(
        self, look: Callable[[Shelf], Iterable[Path]], *, everywhere: bool = False
    ) -> list[Path] | None:
        """What the first folder that has something has; files that are one and the same count once.

        Args:
            everywhere: what all folders have.
        """
        for oldest in (0.0, time.monotonic() - FRESH):
            shelves = self._shelves(oldest)
            for together in [shelves] if everywhere else [[one] for one in shelves]:
                seen = (path for one in together for path in look(one) if path.exists())
                if found := _different(seen):
                    return found
        return None


def configured(*, confined: bool = False) -> Library:
    """The library that the environment and the configuration describe.

    Raises:
        WorkflowError: the configuration can't be read, or a variable names no folder that can be.
    """
    config = load_config()
    usual = (huggingface_folder(),) if config.huggingface else ()
    return Library((*model_folders(config), *usual), confined)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem.casefold()


def _models_of_comfyui(folder: Path) -> Path:
    whole = any((folder / name).exists() for name in ("custom_nodes", "comfy"))
    return folder / "models" if whole and (folder / "models").is_dir() else folder


def _ending_with(one: Shelf, parts: tuple[str, ...]) -> Iterator[Path]:
    for item in one.named.get(parts[-1], ()):
        if item.parts[-len(parts) :] == parts:
            yield item.path


def _published(one: Shelf, file: PublishedFile) -> Iterator[Path]:
    repository = file.repository.split("/")[-1]
    parts = (repository, *file.path.split("/"))
    if file.is_pattern:
        for item in one.items():
            same = item.parts[-len(parts) : -1] == parts[:-1]
            if same and fnmatchcase(item.parts[-1], parts[-1]):
                yield item.path
        return
    if file.revision and file.repository in one.repositories:
        exact = one.repositories[file.repository] / "snapshots" / file.revision / file.path
        if _has_size(exact, file.bytes):
            yield exact
    yield from (path for path in _ending_with(one, parts) if _has_size(path, file.bytes))
    if file.bytes and not _is_part(parts[-1]):
        yield from (path for path in _ending_with(one, parts[-1:]) if _has_size(path, file.bytes))


def _is_part(name: str) -> bool:
    """Whether a file is one of several, which have the same names and sizes in many repositories."""
    return is_shard(Path(name)) or name.endswith(INDEX_SUFFIX)


def _complete(path: Path, main: PublishedFile, others: Sequence[PublishedFile]) -> bool:
    beside = PurePosixPath(main.path).parent
    return all(
        _has_size(path.parent / os.path.relpath(other.path, beside), other.bytes)
        for other in others
    )


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.is_file() and (not size or path.stat().st_size == size)
    except OSError:
        return False


def _different(paths: Iterable[Path]) -> list[Path]:
    """The paths, without those that lead to a file that an earlier one leads to."""
    seen: dict[object, Path] = {}
    for path in paths:
        seen.setdefault(_content(path), path)
    return list(seen.values())


def _copies_once(paths: Sequence[Path]) -> list[Path]:
    """The paths, without those whose content an earlier one has."""
    seen: dict[object, Path] = {}
    for path in paths:
        seen.setdefault(_sum(path), path)
    return list(seen.values())


def _sum(path: Path) -> object:
    try:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.is_file())
            return tuple((one.name, content_fingerprint(one)) for one in inside)
        return content_fingerprint(path)
    except (OSError, WeightsError):
        return path  # what can't be read is nobody's copy


def _content(path: Path) -> object:
    """What tells a file from others: where it really is; in the Hub's cache, the sum of its content."""
    real = path.resolve()
    if path.is_dir():
        return frozenset(
            (inside.name, _content(inside)) for inside in path.iterdir() if inside.is_file()
        )
    return real.name if real.parent.name == "blobs" and _BLOB.fullmatch(real.name) else real
