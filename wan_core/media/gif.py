"""GIF: encoding with a palette for each frame, and what a file says of itself."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs
import av
import numpy as np
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.media.clock import tick
from wan_core.media.containers import ContainerEncoder
from wan_core.media.formats import MAX_COMMENT
from wan_core.media.pictures import check_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray


_SAMPLE = 128 * 128
_END = b"\x3b"
_EXTENSION = 0x21
_PICTURE = 0x2C
_COMMENT = 0xFE
_CONTROL = 0xF9


class GifEncoder(ContainerEncoder):
    """Encodes frames with FFmpeg; each has the 256 colours that suit it, dithered.

    One palette for all would need all frames at once.
    """

    def add(self, picture: NDArray[np.uint8], index: int) -> None:
        """Encode frame number ``index``, ``[height, width, 3]``."""
        clock = self._job.format.clock or 1
        start, end = (tick(n, self._job.rate, clock) for n in (index, index + 1))
        # two arrays, which is not among the types that PyAV declares
        pixels: Any = _with_palette(picture)
        frame = av.VideoFrame.from_ndarray(pixels, format="pal8")
        frame.pts, frame.time_base = start, Fraction(1, clock)
        for packet in self._stream.encode(frame):
            packet.duration = end - start
            self._container.mux(packet)

    def finish(self) -> None:
        """Complete the file, and put the comment into it."""
        super().finish()
        if self._job.comment is not None:
            with self._job.hidden.open("r+b") as file:
                _append_comment(file, self._job.comment.encode())


def _with_palette(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture as numbers of colours ``[height, width]``, and these ``[256, 4]`` (opacity, RGB)."""
    image = Image.fromarray(picture)
    if (few := image.getcolors(256)) is not None:
        colours = np.array(sorted(colour for _, colour in few), np.uint8)
        indexes = np.searchsorted(_packed(colours), _packed(picture)).astype(np.uint8)
    else:
        sample = image
        if image.width * image.height > _SAMPLE:
            # the colours of some pixels, which are found many times faster
            scale = math.sqrt(_SAMPLE / (image.width * image.height))
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            sample = image.resize(size, Image.Resampling.NEAREST)
        chosen = sample.quantize(256, method=Image.Quantize.MAXCOVERAGE)
        indexed = image.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
        colours = np.array(indexed.getpalette("RGB"), np.uint8).reshape(-1, 3)
        indexes = np.asarray(indexed)
    palette = np.full((256, 4), 255, np.uint8)
    palette[: len(colours), 1:] = colours
    return indexes, palette


def _packed(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours ``[..., 3]`` as numbers in the same order."""
    wide = colours.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _append_comment(file: BinaryIO, text: bytes) -> None:
    file.seek(-1, 2)
    if file.read(1) != _END:
        raise MediaError("FFmpeg's GIF has no end")
    file.seek(-1, 2)
    file.write(bytes((_EXTENSION, _COMMENT)))
    for start in range(0, len(text), 255):
        part = text[start : start + 255]
        file.write(bytes((len(part),)) + part)
    file.write(b"\0" + _END)


@attrs.frozen
class GifInfo:
    """What a GIF says of itself.

    Attributes:
        width, height: in pixels.
        durations: of the frames, in hundredths of a second.
        comment: its first one, or None; a longer one than is ever written counts as none.
    """

    width: int
    height: int
    durations: list[int]
    comment: str | None


def scan_gif(path: Path) -> GifInfo:
    """What a GIF says of itself; no frame is decoded.

    Raises:
        MediaError: it is damaged.
    """
    with path.open("rb") as file:
        _, width, height, flags, _, _ = struct.unpack("<6sHHBBB", _exactly(file, 13))
        check_pixels(width, height, str(path))
        _skip_palette(file, flags)
        durations: list[int] = []
        comment, duration = None, 0
        # players don't miss the end
        while (kind := (file.read(1) or _END)[0]) != _END[0]:
            if kind == _PICTURE:
                _skip_palette(file, _exactly(file, 9)[8])
                _exactly(file, 1)
                for _ in _blocks(file):
                    pass
                # as players do
                durations.append(duration if duration > 1 else 10)
                duration = 0
            elif kind == _EXTENSION:
                label = _exactly(file, 1)[0]
                text = bytearray()
                for part in _blocks(file):
                    if len(text) <= MAX_COMMENT:
                        text += part
                if label == _CONTROL and len(text) == 4:
                    duration = int.from_bytes(text[1:3], "little")
                if label == _COMMENT and comment is None and len(text) <= MAX_COMMENT:
                    comment = text.decode(errors="replace")
            else:
                raise MediaError("this GIF is damaged", where=str(path))
    if not durations:
        raise MediaError("this file has no video in it", where=str(path))
    return GifInfo(width, height, durations, comment)


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise MediaError("this is no video that can be read (it is cut short)", where=file.name)
    return data


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        _exactly(file, 3 * 2 ** ((flags & 7) + 1))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while length := _exactly(file, 1)[0]:
        yield _exactly(file, length)
