"""A cheap identity of a checkpoint's content, for cache keys and for the provenance of a video."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from wan_core.weights.files import open_weights
from wan_core.weights.places import unreadable
from wan_core.weights.safetensors_header import read_header
from wan_core.weights.sources import TensorSource

__all__ = ["content_fingerprint", "fingerprint"]

BLOCK = 4096
SPREAD = 256
TAIL = 2**20


def fingerprint(weights: TensorSource | Path | str) -> str:
    """Identify the content of a checkpoint without reading all of it.

    SHA-256 over, for each file: its size; the header and one 4 KiB block from the middle of every
    tensor (safetensors); the last MiB, where a ``.pth`` archive lists a CRC-32 of every record; and
    256 blocks spread evenly. That is about 3 MB for an 11 GB text encoder. Name, place and date of
    the file do not count, so a copy has the same fingerprint. Training or merging changes a tensor
    everywhere and is seen; an edit by hand of a few rows inside a large safetensors tensor may not
    be. A legacy pickle, which is no zip archive, has no CRC-32s: of it only the spread blocks and the
    last MiB are seen.

    Args:
        weights: an open checkpoint, or what :func:`~wan_core.weights.open_weights` opens.

    Returns:
        64 hexadecimal digits.

    Raises:
        WeightsError: a file cannot be read.
    """
    source = weights if isinstance(weights, TensorSource) else open_weights(weights)
    return content_fingerprint(*source.files)


def content_fingerprint(*paths: Path) -> str:
    """The same for files of any kind, which are not opened as weights.

    Raises:
        WeightsError: a file cannot be read.
    """
    digest = hashlib.sha256(b"wan-core weights 1")
    for path in paths:
        try:
            size = path.stat().st_size
            digest.update(size.to_bytes(8, "little"))
            with path.open("rb") as file:
                for begin, length in _spans(path, size):
                    file.seek(begin)
                    digest.update(file.read(length))
        except OSError as error:
            raise unreadable(path, error) from error
    return digest.hexdigest()


def _spans(path: Path, size: int) -> Iterator[tuple[int, int]]:
    """``(offset, length)`` of what is hashed."""
    with path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"
    if is_safetensors:
        header = read_header(path)
        yield 0, min(header.offsets.values(), default=size)
        for name, info in header.tensors.items():
            yield header.offsets[name] + max(0, info.nbytes - BLOCK) // 2, min(BLOCK, info.nbytes)
    for index in range(SPREAD):
        yield max(0, size - BLOCK) * index // (SPREAD - 1), BLOCK
    yield max(0, size - TAIL), TAIL
