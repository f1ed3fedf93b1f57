"""Outlines: names, types and shapes of a checkpoint's tensors without the tensors. No torch.

A plan made with an outline says what a run with the file would take before anybody has fetched it. The format
is JSON: ``{"tensors": {"blocks.{0-39}.ffn.0.weight": "F32 13824 5120", …}}``; a range in braces stands for all
its numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from wan_core.contract.errors import WeightsError
from wan_core.weights.places import place, printable, unreadable
from wan_core.weights.safetensors_header import (
    DTYPE_BITS,
    MAX_NAME,
    MAX_TENSORS,
    json_trouble,
    shown,
    unique_keys,
)
from wan_core.weights.sources import TensorInfo, TensorSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OUTLINE_SUFFIX = ".outline.json"
OUTLINE = "outline"
"""What the format of such files is called."""
MAX_BYTES = 2**20
_RANGE = re.compile(r"\{(\d{1,5})-(\d{1,5})\}")
_ENTRY = re.compile(r"([A-Z0-9_]+)((?: \d{1,12}){0,8})")


class Outline(TensorSource):
    """An outline, opened.

    Raises:
        WeightsError: the file can't be read, or is none.
    """

    container = OUTLINE

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = printable(path.name)
        self.files = (path,)
        self.metadata = {}
        self.tensors = dict(_entries(path))

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        if name not in self.tensors:
            raise KeyError(name)
        raise WeightsError(
            "this is an outline, which says what a file would hold and has no weights",
            where=place(self.path),
            remedy="name the file itself",
        )


def _entries(path: Path) -> Iterator[tuple[str, TensorInfo]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            _damaged(path, "it is larger than 1 MiB")
        table = json.loads(path.read_bytes(), object_pairs_hook=unique_keys)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        _damaged(path, json_trouble(error))
    tensors = table.get("tensors") if isinstance(table, dict) else None
    if not isinstance(tensors, dict):
        _damaged(path, "it has no table tensors")
    seen: set[str] = set()
    for pattern, entry in tensors.items():
        if len(pattern) > MAX_NAME:
            _damaged(path, f"the name of a tensor is longer than {MAX_NAME} characters")
        info = _info(path, pattern, entry)
        for name in _names(path, pattern):
            if name in seen:
                _damaged(path, f"tensor {shown(name)} stands there twice")
            if len(seen) == MAX_TENSORS:
                _damaged(path, f"it describes more than {MAX_TENSORS} tensors")
            seen.add(name)
            yield name, info


def _info(path: Path, name: str, entry: Any) -> TensorInfo:
    found = _ENTRY.fullmatch(entry) if isinstance(entry, str) else None
    if not found or found[1] not in DTYPE_BITS:
        _damaged(path, f"tensor {shown(name)} has no type and sizes")
    shape = tuple(map(int, found[2].split()))
    return TensorInfo(found[1], shape, -(-prod(shape) * DTYPE_BITS[found[1]] // 8))


def _names(path: Path, pattern: str) -> Iterator[str]:
    found = _RANGE.search(pattern)
    if not found:
        yield pattern
        return
    first, last = int(found[1]), int(found[2])
    if first > last or _RANGE.search(pattern, found.end()):
        _damaged(path, f"the name {shown(pattern)} is no range of names")
    for number in range(first, last + 1):
        yield f"{pattern[: found.start()]}{number}{pattern[found.end() :]}"


def _damaged(path: Path, why: str) -> NoReturn:
    raise WeightsError(
        f"this is no outline of a checkpoint ({why})",
        where=place(path),
        remedy="name the file itself",
    )
