"""Animated WebP, written and read frame by frame.

A WebP file is a row of chunks: a name of four bytes, a length, that many bytes and one more if the
length is odd. Encoders that make a whole animation keep all of it in memory; here each frame is a
picture of its own, which Pillow encodes and decodes.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs
import numpy as np
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.media.clock import tick
from wan_core.media.exif import comment_in, with_comment
from wan_core.media.formats import MAX_COMMENT
from wan_core.media.pictures import check_pixels, opened_picture, rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wan_core.media.writing import Job

_QUALITY = 90
_EFFORT = 4
_LARGEST_FILE = 2**32 - 10
_ANIMATED, _HAS_EXIF, _HAS_ALPHA = 0x02, 0x08, 0x10
_DO_NOT_BLEND, _CLEAR_AFTER = 0x02, 0x01
_LONGEST_EXIF = 2 * MAX_COMMENT + 64 * 1024


class WebpEncoder:
    """Encodes frames one by one; each replaces the one before it entirely."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._file = job.hidden.open("wb")
        flags = _ANIMATED | (_HAS_EXIF if job.comment is not None else 0)
        size = _u24(job.width - 1) + _u24(job.height - 1)
        self._file.write(b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", bytes((flags, 0, 0, 0)) + size))
        # a background that is never seen, and no end of repetitions
        self._file.write(_chunk(b"ANIM", bytes(6)))

    def add(self, picture: NDArray[np.uint8], index: int) -> None:
        """Encode frame number ``index``, ``[height, width, 3]``."""
        clock = self._job.format.clock or 1
        start, end = (tick(n, self._job.rate, clock) for n in (index, index + 1))
        still = io.BytesIO()
        Image.fromarray(picture).save(still, "WEBP", quality=_QUALITY, method=_EFFORT)
        size = _u24(self._job.width - 1) + _u24(self._job.height - 1)
        head = bytes(6) + size + _u24(end - start) + bytes((_DO_NOT_BLEND,))
        self._write(_chunk(b"ANMF", head + still.getvalue()[12:]))

    def finish(self) -> None:
        """Add the comment and complete the file."""
        if self._job.comment is not None:
            self._write(_chunk(b"EXIF", with_comment(self._job.comment)))
        length = self._file.tell()
        self._file.seek(4)
        self._file.write(struct.pack("<I", length - 8))
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is; nothing happens after :meth:`finish`."""
        with suppress(OSError):
            self._file.close()

    def _write(self, chunk: bytes) -> None:
        if self._file.tell() + len(chunk) > _LARGEST_FILE:
            raise MediaError(
                "a WebP file has 4 GB at most",
                where=str(self._job.path),
                remedy="write fewer or smaller frames, or another format",
            )
        self._file.write(chunk)


@attrs.frozen
class WebpInfo:
    """What a WebP file says of itself.

    Attributes:
        width, height: in pixels.
        durations: of the frames, in thousandths of a second.
        comment: the text of its Exif data, or None.
    """

    width: int
    height: int
    durations: list[int]
    comment: str | None


@attrs.frozen
class _Frame:
    """Where a frame is in the file, and in the picture."""

    offset: int
    length: int
    x: int
    y: int
    width: int
    height: int
    duration: int
    flags: int


def scan_webp(path: Path) -> WebpInfo:
    """What a WebP file says of itself; no frame is decoded.

    Raises:
        MediaError: it is damaged, or its pictures are too large.
    """
    with path.open("rb") as file:
        width, height, comment = 0, 0, None
        durations = []
        for name, found in _parts(file):
            if isinstance(found, _Frame):
                durations.append(found.duration)
                width, height = width or found.width, height or found.height
            elif name == b"VP8X":
                width, height = found
            elif found[1] <= _LONGEST_EXIF:
                file.seek(found[0])
                comment = comment_in(file.read(found[1]))
        if not durations:
            raise MediaError("this file has no video in it", where=str(path))
        return WebpInfo(width, height, durations, comment)


def read_webp(path: Path) -> Iterator[NDArray[np.uint8]]:
    """The frames of a WebP file on black, ``[height, width, 3]`` uint8.

    Raises:
        MediaError: it is damaged, or its pictures are too large.
    """
    with path.open("rb") as file:
        canvas = None
        for name, found in _parts(file):
            if not isinstance(found, _Frame):
                if name == b"VP8X":
                    canvas = Image.new("RGB", found)
                continue
            if canvas is None:
                canvas = Image.new("RGB", (found.width, found.height))
            file.seek(found.offset)
            still = _still(found, file.read(found.length))
            box = (found.x, found.y, found.x + found.width, found.y + found.height)
            with opened_picture(io.BytesIO(still), "WEBP", str(path)) as picture:
                if picture.size != (found.width, found.height):
                    raise MediaError("this picture is damaged", where=str(path))
                picture.load()
                if found.flags & _DO_NOT_BLEND:
                    canvas.paste("black", box)
                canvas.paste(picture, box, picture if picture.mode == "RGBA" else None)
            yield rgb(canvas)
            if found.flags & _CLEAR_AFTER:
                canvas.paste("black", box)


def webp_size(file: BinaryIO, where: str) -> tuple[int, int]:
    """Width and height of a WebP file, which is then at its start again; only its first chunk is read.

    Raises:
        MediaError: it is damaged.
    """
    start = file.read(30)
    file.seek(0)
    name, data = start[12:16], start[20:30]
    if name == b"VP8X" and len(data) == 10:
        return _int24(data, 4) + 1, _int24(data, 7) + 1
    if name in (b"VP8 ", b"VP8L"):
        return _size_of_still(name, data, where)
    raise MediaError("this picture is damaged", where=where)


def _parts(file: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int] | _Frame]]:
    """The chunks that matter, by name: sizes (VP8X), places of data (EXIF), frames."""
    where = str(file.name)
    size, end = (0, 0), file.seek(0, 2)
    for name, offset, length in _chunks(file, 12, end):
        file.seek(offset)
        if name == b"VP8X" and length >= 10 and size == (0, 0):
            head = file.read(10)
            size = _int24(head, 4) + 1, _int24(head, 7) + 1
            check_pixels(*size, where)
            yield name, size
        elif name == b"EXIF":
            yield name, (offset, length)
        elif name == b"ANMF" and length >= 16 and size != (0, 0):
            head = file.read(16)
            x, y, width, height, duration = (_int24(head, at) for at in (0, 3, 6, 9, 12))
            frame = _Frame(
                offset + 16, length - 16, 2 * x, 2 * y, width + 1, height + 1, duration, head[15]
            )
            if frame.x + frame.width > size[0] or frame.y + frame.height > size[1]:
                raise MediaError("a frame lies outside of the picture", where=where)
            _check_length(frame, where)
            yield name, frame
        elif name in (b"VP8 ", b"VP8L"):
            width, height = _size_of_still(name, file.read(10), where)
            check_pixels(width, height, where)
            if size not in ((0, 0), (width, height)):
                raise MediaError("this picture is damaged", where=where)
            frame = _Frame(offset - 8, length + 8, 0, 0, width, height, 0, 0)
            _check_length(frame, where)
            yield name, frame
            return


def _chunks(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and length of each chunk."""
    while start + 8 <= end:
        file.seek(start)
        name, length = struct.unpack("<4sI", file.read(8))
        if start + 8 + length > end:
            raise MediaError(
                "this is no video that can be read (it is cut short)", where=str(file.name)
            )
        yield name, start + 8, length
        start += 8 + length + length % 2


def _check_length(frame: _Frame, where: str) -> None:
    if frame.length > 8 * frame.width * frame.height + 65536:
        raise MediaError("a frame has more data than it can need", where=where)


def _size_of_still(name: bytes, data: bytes, where: str) -> tuple[int, int]:
    if len(data) < 10:
        raise MediaError("this picture is damaged", where=where)
    if name == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _still(frame: _Frame, data: bytes) -> bytes:
    """A frame's data as a file of its own, whose size libwebp compares with that of the picture."""
    alpha = _HAS_ALPHA if data[:4] in (b"ALPH", b"VP8L") else 0
    size = _u24(frame.width - 1) + _u24(frame.height - 1)
    head = _chunk(b"VP8X", bytes((alpha, 0, 0, 0)) + size)
    return _chunk(b"RIFF", b"WEBP" + head + data + b"\0" * (len(data) % 2))


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _u24(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _int24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")
