"""Reading video files: what is in them, and their frames one after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import av
import numpy as np
from av.error import FFmpegError

from wan_core.contract.errors import MediaError
from wan_core.media.pixels import converter

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_FULL_RANGE = 2


@attrs.frozen
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width, height: in pixels.
        frames: number of frames.
        fps: frames per second.
        duration: in seconds.
        comment: the text kept in its metadata, or None.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    duration: float
    comment: str | None


def probe(path: Path | str) -> VideoInfo:
    """What a video file says of itself; no frame is decoded.

    Raises:
        MediaError: it is not there, or it is no video.
    """
    with _opened(Path(path)) as (container, stream):
        # some formats don't state the number of frames
        frames = stream.frames or sum(1 for p in container.demux(stream) if p.size)
        rate = stream.average_rate or stream.guessed_rate or Fraction(0)
        if stream.duration:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = float(frames / rate) if rate else 0.0
        comment = container.metadata.get("comment", container.metadata.get("COMMENT"))
        return VideoInfo(
            stream.width, stream.height, frames, Fraction(rate), duration, comment or None
        )


def read_frames(path: Path | str) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video as RGB, ``[height, width, 3]`` uint8, at constant memory.

    Raises:
        MediaError: with the first frame: it is not there, or it is no video; later: it is damaged.
    """
    with _opened(Path(path)) as (container, stream):
        convert = None
        for frame in container.decode(stream):
            if convert is None:
                convert = converter(
                    frame.width,
                    frame.height,
                    frame.format.name,
                    "rgb24",
                    _input_colors(frame),
                )
            yield convert(frame).to_ndarray().astype(np.uint8, copy=False)


def _input_colors(frame: av.VideoFrame) -> str:
    """The scale filter's words for a frame's tags; files without tags are read as players do."""
    if frame.format.is_rgb:
        return "out_range=full"
    matrix = _MATRICES.get(int(frame.colorspace), "bt709" if frame.height >= 720 else "bt601")
    span = "full" if int(frame.color_range) == _FULL_RANGE else "limited"
    return f"in_color_matrix={matrix}:in_range={span}:out_range=full"


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    where = str(path)
    if not path.is_file():
        raise MediaError("there is no such file", where=where, remedy="check the path")
    try:
        with av.open(where, "r") as container:
            # FFmpeg sees a film of a terminal in any text
            if not container.streams.video or container.format.name == "tty":
                raise MediaError("this file has no video in it", where=where)
            yield container, container.streams.video[0]
    except FFmpegError as error:
        raise MediaError(
            f"this is no video that can be read ({error.strerror})", where=where
        ) from error
