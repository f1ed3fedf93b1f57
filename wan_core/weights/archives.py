"""What can be said of a pickled checkpoint before torch opens it: its archive and the names in its pickle.

``torch.load`` refuses code, but trusts sizes: it unpacks compressed records of any size, reads old files whole,
and may be told to make a large object. All this is looked at first, from the directory of the archive and the
opcodes of the pickle, of which none is executed. Imports no torch.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO, NoReturn

from wan_core.contract.errors import WeightsError
from wan_core.weights.places import place, unreadable
from wan_core.weights.safetensors_header import shown

__all__ = ["check_pickle"]

ZIP_START = b"PK\x03\x04"
MAX_PICKLE_BYTES = 64 * 2**20
MAX_STEPS = 4_000_000
"""Of a pickle; a large model with its optimizer takes a quarter of that."""

MAX_DIRECTORY_BYTES = 16 * 2**20
MAX_RECORDS = 100_000
MAX_LEGACY_BYTES = 2 * 2**30
"""Largest file of before torch 1.6: such a file is held in memory whole. Those of Wan are below 1 GB."""

# an old file is five pickles (mark, version, system, state dict, keys), then the numbers
LEGACY_PICKLES = 5
LEGACY_HEAD = 16 * 2**20

_TAIL = 2**16 + 22 + 20
_END, _LOCATOR, _END64 = b"PK\x05\x06", b"PK\x06\x07", b"PK\x06\x06"

# modules whose names torch's own reader judges one by one
_MODULES = {"collections", "_codecs", "builtins", "__builtin__"}
# of what torch's reader allows, the one that makes an object of any size from a number
_GREEDY = {"builtins bytearray", "__builtin__ bytearray"}


def check_pickle(path: Path) -> None:
    """Refuse a pickled checkpoint that is damaged, holds code, or would fill the memory.

    Raises:
        WeightsError: and why, in one sentence.
    """
    if path.name.endswith(".safetensors"):
        # torch.load goes by the name and would read it as safetensors
        raise WeightsError(
            "this is a pickled state dict under the name of a safetensors file",
            where=place(path),
            remedy="rename it to end in .pth",
        )
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(ZIP_START)) == ZIP_START:
                _check_names(path, io.BytesIO(_data_of_archive(path, file, size)), 1)
                return
            if size > MAX_LEGACY_BYTES:
                raise WeightsError(
                    f"this pickle of {size / 1e9:.1f} GB is no zip archive and would be read into memory whole",
                    where=place(path),
                    remedy="convert it to safetensors",
                )
            file.seek(0)
            _check_names(path, io.BytesIO(file.read(LEGACY_HEAD)), LEGACY_PICKLES)
    except OSError as error:
        raise unreadable(path, error) from error


def _data_of_archive(path: Path, file: BinaryIO, size: int) -> bytes:
    """The pickle inside the archive, once its directory is found to be what torch writes."""
    directory, count = _directory(path, file, size)
    if directory > min(MAX_DIRECTORY_BYTES, size) or count > MAX_RECORDS:
        _damaged(path, f"its directory claims {count} records in {directory} bytes")
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            _check_records(path, records, size)
            data = [one for one in records if one.filename.endswith("/data.pkl")]
            if len(data) != 1:
                raise WeightsError(
                    "this is a zip archive without a pickled state dict in it",
                    where=place(path),
                    remedy="unpack it, or name the weight file itself",
                )
            if any("/code/" in one.filename for one in records):
                _refuse_code(path, "it is a TorchScript program")
            if data[0].file_size > MAX_PICKLE_BYTES:
                _damaged(path, f"its pickle has {data[0].file_size} bytes")
            return archive.read(data[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        _damaged(path, str(error) or type(error).__name__)


def _directory(path: Path, file: BinaryIO, size: int) -> tuple[int, int]:
    """Bytes and records of the archive's directory, as its end says."""
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise WeightsError(
            "the archive is cut short: its directory, which is at the end, is missing",
            where=place(path),
            remedy="download it again",
        )
    count, directory = _number(tail, at + 10, 2), _number(tail, at + 12, 4)
    locator = tail[max(0, at - 20) : at]
    if locator[:4] == _LOCATOR:
        file.seek(min(_number(locator, 8, 8), size))
        end = file.read(56)
        if end[:4] != _END64 or len(end) < 56:
            _damaged(path, "its directory is not where its end says")
        count, directory = _number(end, 32, 8), _number(end, 40, 8)
    return directory, count


def _check_records(path: Path, records: list[zipfile.ZipInfo], size: int) -> None:
    for one in records:
        if one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size:
            raise WeightsError(
                f"its record {shown(one.filename)} is compressed, which torch never does",
                where=place(path),
                remedy="don't use this file unless you trust who made it",
            )
        if one.flag_bits & 1:
            _damaged(path, f"its record {shown(one.filename)} is encrypted")
    total = sum(one.file_size for one in records)
    if total > size or any(one.header_offset + one.file_size > size for one in records):
        _damaged(path, f"its records claim {total} bytes, the file has {size}")


def _check_names(path: Path, stream: io.BytesIO, pickles: int) -> None:
    """Refuse a name that torch's reader would refuse anyway, and say it; or one that it should."""
    try:
        for _ in range(pickles):
            if not stream.getbuffer()[stream.tell() :]:
                return
            for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if step > MAX_STEPS:
                    _damaged(path, f"its pickle takes more than {MAX_STEPS} steps")
                if opcode.name in ("GLOBAL", "INST"):
                    _check_name(path, str(argument))
                elif opcode.name == "STACK_GLOBAL":
                    _refuse_code(path, "")
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise WeightsError(
            "the file cannot be read as a pickled state dict: its pickle is damaged or cut short",
            where=place(path),
            remedy="download it again",
        ) from error


def _check_name(path: Path, name: str) -> None:
    module = name.split(" ")[0]
    if (module not in _MODULES and module.split(".")[0] != "torch") or name in _GREEDY:
        _refuse_code(path, f"it names {shown(name.replace(' ', '.'))}")


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")


def _refuse_code(path: Path, why: str) -> NoReturn:
    reason = f" ({why})" if why else ""
    raise WeightsError(
        f"the file holds Python objects other than tensors{reason}, could run code, and is refused",
        where=place(path),
        remedy="use a safetensors version of it",
    )


def _damaged(path: Path, how: str) -> NoReturn:
    raise WeightsError(
        f"damaged archive of a pickled state dict: {how}",
        where=place(path),
        remedy="download it again",
    )
