"""The header of a safetensors file, read and checked without importing torch.

Format: 8 bytes little-endian length, then that many bytes of JSON ``{name: {dtype, shape,
data_offsets}}`` (with an optional ``__metadata__`` of strings), then the data, which the tensors
fill without gaps. Source: the format section of the safetensors README.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.weights.places import place, refuse_strangers, unreadable
from wan_core.weights.sources import TensorInfo

__all__ = ["Header", "read_header", "shown", "unique_keys"]

# a third of the format's own limit and twenty times the largest header of a published model; what is parsed
# takes several times the memory of its text
MAX_HEADER_BYTES = 32 * 2**20
MAX_TENSORS = 100_000
MAX_RANK = 16
# four times the longest of a published file; what tells files by their names takes its time with long ones
MAX_NAME = 1000

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    **{f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)},
    "F4": 4,
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    "F16": 16,
    "BF16": 16,
    "F32": 32,
    "F64": 64,
    "C64": 64,
}


@attrs.frozen
class Header:
    """A checked header.

    Attributes:
        tensors: name -> type, shape and size, in the order of the data.
        offsets: name -> where its data begins, in bytes from the start of the file.
        metadata: the file's free strings.
    """

    tensors: Mapping[str, TensorInfo]
    offsets: Mapping[str, int]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read and check the header of the safetensors file at ``path``.

    Every promise of the header is checked against the file's true size before anything is believed,
    so that a lying or truncated file fails here and not while a model is half loaded.

    Raises:
        WeightsError: the file is missing, cut short, damaged, or no safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                _refuse_start(path, start + file.read(56), size, length)
            text = file.read(length)
    except OSError as error:
        raise unreadable(path, error) from error
    if text.count(b"{") + text.count(b"[") > 3 * MAX_TENSORS + 100:
        _damaged(path, f"its header describes more than {MAX_TENSORS} tensors")
    try:
        entries = json.loads(text, object_pairs_hook=unique_keys, **NO_FLOATS)
    except (ValueError, RecursionError) as error:
        _damaged(path, f"its header is no valid JSON ({json_trouble(error)})")
    if not isinstance(entries, dict):
        _damaged(path, "its header is no table of tensors")
    return _check(path, entries, data_start=8 + length, data_bytes=size - 8 - length)


def _check(path: Path, entries: dict[str, Any], data_start: int, data_bytes: int) -> Header:
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        _damaged(path, "its metadata are not all strings")
    if any(len(name) > MAX_NAME for name in entries):
        _damaged(path, f"the name of a tensor is longer than {MAX_NAME} characters")
    spans: list[tuple[int, int, str, TensorInfo]] = []
    for name, entry in entries.items():
        begin, info = _entry(path, name, entry)
        spans.append((begin, begin + info.nbytes, name, info))
    spans.sort(key=lambda span: span[:2])
    position = 0
    for begin, end, name, _ in spans:
        if begin != position:
            _damaged(path, f"the data of tensor {shown(name)} overlap others or leave a gap")
        position = end
    if position > data_bytes:
        raise WeightsError(
            f"the file is cut short: its tensors need {position} bytes, it has {data_bytes}",
            where=place(path),
            remedy="download it again",
        )
    if position < data_bytes:
        _damaged(path, f"{data_bytes - position} bytes at its end belong to no tensor")
    return Header(
        tensors={name: info for _, _, name, info in spans},
        offsets={name: data_start + begin for begin, _, name, _ in spans},
        metadata=metadata,
    )


def _entry(path: Path, name: str, entry: Any) -> tuple[int, TensorInfo]:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError):
        _damaged(path, f"the header entry of tensor {shown(name)} is incomplete")
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        said = f"the unknown type {shown(dtype)}" if isinstance(dtype, str) else "an unknown type"
        _damaged(path, f"tensor {shown(name)} has {said}")
    sizes = [*shape, begin, end] if isinstance(shape, list) and len(shape) <= MAX_RANK else [None]
    if not all(type(number) is int and 0 <= number < 2**63 for number in sizes):
        _damaged(path, f"the header entry of tensor {shown(name)} has impossible numbers")
    if prod(shape) * bits != (end - begin) * 8:
        _damaged(path, f"the size of tensor {shown(name)} does not fit its shape {shape}")
    return begin, TensorInfo(dtype, tuple(shape), end - begin)


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{shown(text)} is no whole number")


# refused as they are met: a list of millions of them takes a lot of memory
NO_FLOATS: dict[str, Any] = {"parse_float": _no_float, "parse_constant": _no_float}


def json_trouble(error: Exception) -> str:
    """What is wrong with a JSON text, for whoever does not know Python."""
    match error:
        case json.JSONDecodeError():
            return (
                f"{error.msg[:1].lower()}{error.msg[1:]}, line {error.lineno}, column {error.colno}"
            )
        case UnicodeDecodeError():
            return "no UTF-8 text"
        case RecursionError():
            return "nested too deeply"
        case ValueError() if "digits" in str(error):
            return "a number has too many digits"  # which Python does not read
    return str(error)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For ``json.loads(object_pairs_hook=…)``: a key that stands twice is an error."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a key stands twice")
    return table


def shown(name: object) -> str:
    """A name out of a file as error messages may show it: short, without control characters."""
    text = name if isinstance(name, str) else repr(name)
    return repr(text if len(text) <= 100 else text[:97] + "...")


def _refuse_start(path: Path, start: bytes, size: int, length: int) -> NoReturn:
    refuse_strangers(path, start)
    raise WeightsError(
        f"no safetensors file, or cut short: its header claims {length} bytes, the file has {size}",
        where=place(path),
        remedy="download it again",
    )


def _damaged(path: Path, how: str) -> NoReturn:
    raise WeightsError(
        f"damaged safetensors file: {how}", where=place(path), remedy="download it again"
    )
