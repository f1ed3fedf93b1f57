"""GIF: encoding with a palette for each frame, and what a file says of itself."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs
import av
import av.filter
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as NoMore

from wan_core.contract.errors import MediaError
from wan_core.media.clock import tick
from wan_core.media.containers import ContainerEncoder
from wan_core.media.formats import MAX_COMMENT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wan_core.media.writing import Job

_END = b"\x3b"
_EXTENSION = 0x21
_PICTURE = 0x2C
_COMMENT = 0xFE
_CONTROL = 0xF9


class GifEncoder(ContainerEncoder):
    """Encodes frames with FFmpeg; each has the 255 colours that suit it.

    One palette for all would need all frames at once. The dithering is ordered: it stays where it is
    from frame to frame.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._clock = job.format.clock or 1
        self._stream.codec_context.time_base = Fraction(1, self._clock)
        self._graph = _palettes(job.width, job.height)
        self._taken = 0

    def add(self, picture: NDArray[np.uint8], index: int) -> None:
        """Encode frame number ``index``, ``[height, width, 3]``."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, self._clock)
        self._graph.push(frame)
        self._drain()

    def finish(self) -> None:
        """Encode what is still held back, complete the file, and put the comment into it."""
        self._graph.push(None)
        self._drain()
        super().finish()
        if self._job.comment is not None:
            with self._job.hidden.open("r+b") as file:
                _append_comment(file, self._job.comment.encode())

    def _drain(self) -> None:
        while True:
            try:
                frame = self._graph.pull()
            except (NothingYet, NoMore):
                return
            rate, index = self._job.rate, self._taken
            start, end = (tick(n, rate, self._clock) for n in (index, index + 1))
            frame.pts, frame.time_base = start, Fraction(1, self._clock)
            for packet in self._stream.encode(frame):
                packet.duration = end - start
                self._container.mux(packet)
            self._taken += 1


def _palettes(width: int, height: int) -> Any:
    """A graph that takes RGB and gives each frame with a palette of its own."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=width, height=height, format=av.VideoFormat("rgb24"), time_base=Fraction(1, 100)
    )
    split, sink = graph.add("split"), graph.add("buffersink")
    make = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    source.link_to(split)
    split.link_to(make, 0, 0)
    split.link_to(use, 1, 0)
    make.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


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
        _skip_palette(file, flags)
        durations: list[int] = []
        comment, duration = None, 0
        while (kind := _exactly(file, 1)[0]) != _END[0]:
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
    if not (width and height and durations):
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
