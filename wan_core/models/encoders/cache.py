"""Encoded prompts on disk, so that a prompt seen before needs no text encoder.

A key is made of fingerprints that are had without loading a model, so the cache is asked first and
the encoder is built only for what it lacks.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wan_core.contract.errors import WeightsError
from wan_core.models.encoders.cleaning import Cleaning, clean
from wan_core.weights.safetensors_header import read_header

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EmbeddingCache", "embedding_key"]

FORMAT = 1
"""Part of every key: raised whenever the same files start to give other numbers."""

ENTRY = "rows"
SUFFIX = ".safetensors"
PARTIAL = ".partial"
log = logging.getLogger(__name__)


def embedding_key(
    prompt: str,
    *,
    encoder: str,
    tokenizer: str,
    dtype: str,
    device: str = "cpu",
    text_len: int = 512,
    cleaning: Cleaning = "whitespace",
) -> str:
    """The key of a prompt's text rows: everything that they depend on, as 64 hexadecimal digits.

    Prompts that are equal once cleaned have equal keys.

    Args:
        encoder: :func:`wan_core.weights.fingerprint` of the text encoder.
        tokenizer: ``find_tokenizer(…).fingerprint``.
        dtype: precision of the computation, e.g. ``"bfloat16"``.
        device: kind of device that computes, e.g. ``"cuda"``: kinds differ in the last bits.
        text_len: ids at which prompts are cut.
        cleaning: mode of cleaning.
    """
    parts = (FORMAT, clean(prompt, cleaning), encoder, tokenizer, dtype, device, text_len, cleaning)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class EmbeddingCache:
    """A folder of encoded prompts, the least recently used of which make room for new ones.

    Trouble with the folder never stops a run: what can't be read counts as not there, what can't be
    written is reported to the log.

    Args:
        folder: made when it is not there.
        max_bytes: bound on the sum of the files' sizes.
    """

    def __init__(self, folder: Path, max_bytes: int = 2**30) -> None:
        self.folder = folder
        self.max_bytes = max_bytes

    def get(self, key: str) -> Tensor | None:
        """The rows stored under ``key``; None when there are none, or they are damaged or no numbers."""
        path = self.folder / (key + SUFFIX)
        try:
            header = read_header(path)
            data = path.read_bytes()
            if header.metadata["sha256"] != _digest(data[header.offsets[ENTRY] :]):
                return None
            # the oldest date of use is the first to go
            os.utime(path)
        except (OSError, WeightsError, KeyError):
            return None
        from safetensors.torch import load

        rows: Tensor = load(data)[ENTRY]
        return rows if bool(rows.isfinite().all()) else None

    def put(self, key: str, rows: Tensor) -> None:
        """Store ``rows`` (``[rows, text_dim]``) under ``key``, whole or not at all."""
        import torch
        from safetensors.torch import save

        rows = rows.detach().cpu().contiguous()
        digest = _digest(rows.view(torch.uint8).numpy().tobytes())
        data = save({ENTRY: rows}, {"sha256": digest})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.folder, suffix=PARTIAL)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(name).replace(self.folder / (key + SUFFIX))
            finally:
                Path(name).unlink(missing_ok=True)
            self._make_room()
        except OSError as error:
            log.warning("encoded prompts cannot be kept in %s: %s", self.folder, error)

    def _make_room(self) -> None:
        files: list[tuple[int, int, Path]] = []
        for path in self.folder.iterdir():
            # other runs use the folder too: a file may be gone by now
            with suppress(FileNotFoundError):
                if path.suffix in (SUFFIX, PARTIAL):
                    stat = path.stat()
                    files.append((stat.st_mtime_ns, stat.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
