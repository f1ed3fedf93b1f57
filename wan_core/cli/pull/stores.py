"""Where fetched files go: the cache of the Hub, shared with other programs, or a plain folder."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path

from wan_core.cli.pull.hub import Remote
from wan_core.contract.descriptions import PublishedFile


class Store(ABC):
    """A place for files. Names were checked before: nothing here leaves ``root``.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def place(self, file: PublishedFile) -> Path:
        """Where a file of a known revision belongs."""

    @abstractmethod
    def partial(self, remote: Remote) -> Path:
        """Where it lies until it is complete; the same for the same content."""

    @abstractmethod
    def publish(self, remote: Remote, partial: Path) -> Path:
        """Put a complete file in its place."""

    def stored(self, remote: Remote) -> Path | None:
        """A complete copy of the content that only has to be put in its place."""
        return None


class Folder(Store):
    """A plain folder: ``ROOT/NAME/path``."""

    def place(self, file: PublishedFile) -> Path:
        return self.root / file.repository.split("/")[-1] / file.path

    def partial(self, remote: Remote) -> Path:
        place = self.place(remote.file)
        return place.with_name(f".{place.name}.{remote.sum[:16]}.incomplete")

    def publish(self, remote: Remote, partial: Path) -> Path:
        return partial.replace(self.place(remote.file))


class HubCache(Store):
    """The cache of the Hub: contents under their sum, links to them under commit and path."""

    def place(self, file: PublishedFile) -> Path:
        return self._repository(file) / "snapshots" / file.revision / file.path

    def partial(self, remote: Remote) -> Path:
        return self._blob(remote).with_name(f"{remote.sum}.wan-core.incomplete")

    def stored(self, remote: Remote) -> Path | None:
        blob = self._blob(remote)
        return blob if blob.is_file() and blob.stat().st_size == remote.bytes else None

    def publish(self, remote: Remote, partial: Path) -> Path:
        blob, place = self._blob(remote), self.place(remote.file)
        place.parent.mkdir(parents=True, exist_ok=True)
        if partial != blob:
            partial.replace(blob)
        place.unlink(missing_ok=True)
        try:
            place.symlink_to(os.path.relpath(blob, place.parent))
        except (
            OSError
        ):  # a file system without links: the file itself goes there, as the Hub's library has it
            blob.replace(place)
        return place

    def _repository(self, file: PublishedFile) -> Path:
        return self.root / ("models--" + file.repository.replace("/", "--"))

    def _blob(self, remote: Remote) -> Path:
        return self._repository(remote.file) / "blobs" / remote.sum
