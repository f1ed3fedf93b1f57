"""Folders of weights made on the spot."""

from __future__ import annotations

import hashlib
from pathlib import Path

REVISION = "1" * 40


def put(path: Path, content: bytes | str = b"w") -> Path:
    """A file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def put_in_hub(
    hub: Path,
    repository: str,
    path: str,
    content: bytes = b"w",
    revision: str = REVISION,
    main: bool = False,
) -> Path:
    """A file in a cache of the Hub, as its own library lays it down."""
    folder = hub / ("models--" + repository.replace("/", "--"))
    blob = put(folder / "blobs" / hashlib.sha256(content).hexdigest(), content)
    link = folder / "snapshots" / revision / path
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(blob)
    if main:
        put(folder / "refs" / "main", revision)
    return link
