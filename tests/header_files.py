"""Checkpoint files that are nothing but a header: the data are a hole of the right size."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from wan_core.weights.gguf_types import GGML_TYPES
from wan_core.weights.safetensors_header import DTYPE_BITS

Shapes = Mapping[str, Sequence[int]]
GGUF_NUMBERS = {kind.name: number for number, kind in GGML_TYPES.items()}


def write_safetensors(
    path: Path,
    shapes: Shapes,
    dtypes: str | Mapping[str, str] = "BF16",
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A safetensors file with these tensors; ``dtypes`` may be one for all, or by name (else BF16)."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, shape in shapes.items():
        dtype = dtypes if isinstance(dtypes, str) else dtypes.get(name, "BF16")
        end = position + prod(shape) * DTYPE_BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
    return path


def write_shards(folder: Path, shapes: Shapes, count: int, dtypes: str = "BF16") -> Path:
    """The same in ``count`` shards; returns the index."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(shapes)
    weight_map = {}
    for index in range(count):
        file = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
        own = names[index::count]
        write_safetensors(folder / file, {name: shapes[name] for name in own}, dtypes)
        weight_map |= dict.fromkeys(own, file)
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index_file


def text(value: str | bytes) -> bytes:
    """A text as GGUF stores it."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key: str, value: str | int | list[int]) -> bytes:
    """A metadata entry: a text, a uint32, or a list of int32."""
    if isinstance(value, str):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return text(key) + struct.pack("<II", 4, value)
    return text(key) + struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def record(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    """What a GGUF file says of one tensor; ``shape`` as torch has it."""
    sizes = shape[::-1]
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def write_gguf(
    path: Path,
    shapes: Shapes,
    types: str | Mapping[str, str] = "F16",
    metadata: Mapping[str, str | int | list[int]] | None = None,
) -> Path:
    """A GGUF file with these tensors; ``types`` may be one for all, or by name (else F16)."""
    header, size = gguf_header(shapes, types, metadata)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + size)
    return path


def gguf_header(
    shapes: Shapes,
    types: str | Mapping[str, str] = "F16",
    metadata: Mapping[str, str | int | list[int]] | None = None,
) -> tuple[bytes, int]:
    """All that is before the data, and the bytes of the data; each tensor's begin at a multiple of 32."""
    entries = {"general.architecture": "wan", **(metadata or {})}
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(shapes), len(entries))]
    parts += [entry(key, value) for key, value in entries.items()]
    offset = 0
    for name, shape in shapes.items():
        number = GGUF_NUMBERS[types if isinstance(types, str) else types.get(name, "F16")]
        kind = GGML_TYPES[number]
        parts.append(record(name, shape, number, offset))
        offset += -(-prod(shape) // kind.block * kind.nbytes // 32) * 32
    header = b"".join(parts)
    return header + bytes(-len(header) % 32), offset
