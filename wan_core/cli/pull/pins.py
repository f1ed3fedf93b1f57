"""``wan-core.lock.json``: what a file was that no description pins, when it was fetched first.

Later pulls insist on the same commit and the same sum. Delete the file, or an entry, to take what is new.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import PublishedFile
from wan_core.contract.errors import PluginError, WeightsError

FILE = "wan-core.lock.json"
MOST_BYTES = 2**20


class Pins:
    """The lock file in a folder.

    Raises:
        WeightsError: it is there and damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._files = self._read()

    def pinned(self, file: PublishedFile) -> PublishedFile:
        """The file with what the lock knows about it; what its description says comes first."""
        known = self._files.get(file.name)
        if known and file.revision in ("", known.revision):
            return attrs.evolve(
                file,
                revision=known.revision,
                sha256=file.sha256 or known.sha256,
                bytes=file.bytes or known.bytes,
            )
        if not file.revision:
            for other in self._files.values():
                if other.repository == file.repository:
                    return attrs.evolve(file, revision=other.revision)
        return file

    def note(self, file: PublishedFile) -> None:
        """Remember a file that was fetched and checked, at once."""
        self._files[file.name] = attrs.evolve(file, slot="")
        entries = {
            name: {"revision": one.revision, "sha256": one.sha256, "bytes": one.bytes}
            for name, one in sorted(self._files.items())
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f".{FILE}.{os.getpid()}")
        new.write_text(
            json.dumps({"format": 1, "files": entries}, indent=2) + "\n", encoding="utf-8"
        )
        new.replace(self.path)

    def _read(self) -> dict[str, PublishedFile]:
        try:
            with self.path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise ValueError("it is larger than 1 MiB")
            table = json.loads(content)
            if table["format"] != 1:
                raise ValueError("it is of another format")
            return {name: _entry(name, entry) for name, entry in table["files"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError,
                PluginError) as error:  # fmt: skip
            raise WeightsError(
                "this is no list of fetched files", where=str(self.path), remedy="delete it"
            ) from error


def _entry(name: str, entry: dict[str, Any]) -> PublishedFile:
    organisation, repository, path = name.split("/", 2)
    return PublishedFile(
        f"{organisation}/{repository}", path, entry["revision"], entry["sha256"], entry["bytes"]
    )
