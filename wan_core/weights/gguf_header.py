"""The header of a GGUF file, read and checked without numpy and without running into what it claims.

Format: ``GGUF``, a version (2 or 3), the number of tensors and of metadata entries, the entries, one record
for each tensor (name, sizes, type, where its data begin), then the data, aligned. All numbers are
little-endian. Source: the format's description in ggml (``docs/gguf.md``).

Every number in the file is somebody else's word: counts and lengths are compared with what is left of the
file before anything of that size is made (docs/decisions/009-gguf-headers-are-read-here.md).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.weights.gguf_types import GGML_TYPES
from wan_core.weights.places import place, unreadable
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorInfo

__all__ = ["GgufHeader", "read_gguf_header"]

MAX_HEADER_BYTES = 64 * 2**20
"""Of names and texts; the largest header met, a text encoder's with its tokenizer, takes 12 MB."""

MAX_ENTRIES = 100_000
MAX_NAME = 1024
MAX_TEXT = 2**20
KEPT_TEXT = 4096
KEPT_ARRAY = 16
MAX_RANK = 8
WINDOW = 2**18

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_FORMS = dict(zip(_SIZES, "BbHhIif?Qqd", strict=True))
_TEXT, _ARRAY = 8, 9
_SHAPES = "comfy.gguf.orig_shape."


@attrs.frozen
class GgufHeader:
    """A checked header.

    Attributes:
        tensors: name -> type, logical shape (as torch has it: the slowest axis first) and bytes, in the order
            of the data. The type is ``"F32"``, ``"BF16"`` … or the name of a block format such as ``"Q4_K"``.
        offsets: name -> where its data begins, in bytes from the start of the file.
        metadata: key -> number, text, or a short list of numbers; longer ones (a tokenizer) are left out.
    """

    tensors: Mapping[str, TensorInfo]
    offsets: Mapping[str, int]
    metadata: Mapping[str, Any]


def read_gguf_header(path: Path) -> GgufHeader:
    """Read and check the header of the GGUF file at ``path``.

    Raises:
        WeightsError: the file is missing, cut short, damaged, too old, or no GGUF file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(path, file, size).header()
    except OSError as error:
        raise unreadable(path, error) from error


class _Reader:
    """Reads a header from its start to its end, a window at a time."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size = path, file, size
        self.window, self.at, self.start = b"", 0, 0  # `start`: where the window begins in the file
        self.spent = 0  # bytes that went through the window

    # what a header is made of

    def header(self) -> GgufHeader:
        if self.take(4) != b"GGUF":
            self.damaged("it does not begin as one")
        version = self.number("I")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in (2, 3)
            kind = "big-endian" if swapped else f"of version {version}"
            raise WeightsError(
                f"this GGUF file is {kind}; versions 2 and 3, little-endian, are read",
                where=place(self.path),
                remedy="convert it again with a current tool",
            )
        tensors, entries = self.number("Q"), self.number("Q")
        self.bound(tensors, 24, "tensors")
        self.bound(entries, 13, "metadata entries")
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self.text(MAX_NAME, "a metadata key")
            if key in metadata:
                self.damaged(f"the metadata key {shown(key)} stands twice")
            metadata[key] = self.value(self.number("I"), key)
        records = [self.record() for _ in range(tensors)]
        kept = {key: value for key, value in metadata.items() if value is not None}
        return self.check(records, kept)

    def value(self, kind: int, key: str) -> Any:
        if kind in _FORMS:
            return self.number(_FORMS[kind])
        if kind == _TEXT:
            text = self.text(MAX_TEXT, f"the value of {shown(key)}")
            return text if len(text) <= KEPT_TEXT else None
        if kind != _ARRAY:
            self.damaged(f"the value of {shown(key)} has the unknown type {kind}")
        return self.array(key)

    def array(self, key: str) -> list[Any] | None:
        kind, count = self.number("I"), self.number("Q")
        if kind in _FORMS:
            nbytes = self.bound(count, _SIZES[kind], f"items in {shown(key)}", most=2**40)
            if count > KEPT_ARRAY:
                self.skip(nbytes)
                return None
            return list(struct.unpack(f"<{count}{_FORMS[kind]}", self.take(nbytes)))
        if kind != _TEXT:
            self.damaged(f"the list {shown(key)} holds lists or values of the unknown type {kind}")
        self.bound(count, 8, f"items in {shown(key)}", most=2**40)
        for _ in range(count):
            self.fill(8)
            (length,) = struct.unpack_from("<Q", self.window, self.at)
            self.at += 8
            if length > len(self.window) - self.at:
                self.bound(length, 1, f"letters in a text of {shown(key)}", most=MAX_TEXT)
                self.fill(length)
            self.at += length
        return None

    def record(self) -> tuple[str, tuple[int, ...], int, int]:
        """Name, sizes as stored (fastest axis first), number of the type, offset in the data."""
        name = self.text(MAX_NAME, "the name of a tensor")
        rank = self.number("I")
        if rank > MAX_RANK:
            self.damaged(f"tensor {shown(name)} has {rank} axes")
        sizes = struct.unpack(f"<{rank}Q", self.take(8 * rank))
        return name, sizes, self.number("I"), self.number("Q")

    # what has to be true of it

    def check(
        self, records: list[tuple[str, tuple[int, ...], int, int]], metadata: dict[str, Any]
    ) -> GgufHeader:
        alignment = metadata.get("general.alignment", 32)
        good = type(alignment) is int and 0 < alignment <= 2**20
        if not good or alignment & (alignment - 1):
            self.damaged(f"its alignment is {shown(alignment)}")
        data = -(-(self.start + self.at) // alignment) * alignment
        spans: list[tuple[int, int, str]] = []
        infos: dict[str, TensorInfo] = {}
        for name, sizes, number, offset in records:
            if name in infos:
                self.damaged(f"tensor {shown(name)} stands twice")
            infos[name] = self.info(name, sizes, number, metadata)
            spans.append((data + offset, infos[name].nbytes, name))
        spans.sort()
        end = data
        for begin, nbytes, name in spans:
            if begin < end or (begin - data) % alignment:
                self.damaged(f"the data of tensor {shown(name)} overlap others or are not aligned")
            end = begin + nbytes
        if end > self.size:
            self.cut_short(end)
        return GgufHeader(
            {name: infos[name] for _, _, name in spans},
            {name: begin for begin, _, name in spans},
            {key: value for key, value in metadata.items() if not key.startswith(_SHAPES)},
        )

    def info(
        self, name: str, sizes: tuple[int, ...], number: int, metadata: Mapping[str, Any]
    ) -> TensorInfo:
        kind = GGML_TYPES.get(number)
        if kind is None:
            self.damaged(f"tensor {shown(name)} has the unknown type {number}")
        values = prod(sizes)
        if values >= 2**63 or (sizes[0] if sizes else 1) % kind.block:
            self.damaged(f"the sizes {list(sizes)} of tensor {shown(name)} are impossible")
        shape = sizes[::-1]
        stated = metadata.get(_SHAPES + name)
        if stated is not None:
            good = isinstance(stated, list) and all(type(n) is int and n > 0 for n in stated)
            if not good or prod(stated) != values or len(stated) > MAX_RANK:
                self.damaged(f"the original shape of tensor {shown(name)} does not fit its sizes")
            shape = tuple(stated)
        return TensorInfo(kind.name, shape, values // kind.block * kind.nbytes)

    # bytes

    def text(self, longest: int, what: str) -> str:
        length = self.number("Q")
        self.bound(length, 1, f"letters in {what}", most=longest)
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            self.damaged(f"{what} is no text")

    def number(self, form: str) -> Any:
        self.fill(struct.calcsize(form))
        (found,) = struct.unpack_from(f"<{form}", self.window, self.at)
        self.at += struct.calcsize(form)
        return found

    def take(self, count: int) -> bytes:
        self.fill(count)
        self.at += count
        return self.window[self.at - count : self.at]

    def skip(self, count: int) -> None:
        if count <= len(self.window) - self.at:
            self.at += count
            return
        self.start, self.window, self.at = self.start + self.at + count, b"", 0
        self.file.seek(self.start)

    def fill(self, count: int) -> None:
        """Have at least ``count`` bytes in the window, which the caller has bounded."""
        missing = count - (len(self.window) - self.at)
        if missing <= 0:
            return
        self.start += self.at
        more = self.file.read(max(missing, WINDOW))
        self.window, self.at = self.window[self.at :] + more, 0
        self.spent += len(more)
        if len(self.window) < count:
            self.cut_short(self.start + count)
        if self.spent > MAX_HEADER_BYTES:
            self.damaged(f"its header is larger than {MAX_HEADER_BYTES // 2**20} MiB")

    def bound(self, count: int, each: int, what: str, most: int = MAX_ENTRIES) -> int:
        """The bytes that so many things take at least; refuses more than the file can hold."""
        if count > most or count * each > self.size - self.start - self.at:
            self.damaged(f"it claims to have {count} {what}")
        return count * each

    def cut_short(self, needed: int) -> NoReturn:
        raise WeightsError(
            f"the GGUF file is cut short: it needs {needed} bytes and has {self.size}",
            where=place(self.path),
            remedy="download it again",
        )

    def damaged(self, how: str) -> NoReturn:
        raise WeightsError(
            f"damaged GGUF file: {how}", where=place(self.path), remedy="download it again"
        )
