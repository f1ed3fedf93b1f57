"""Reading video files: what is in them, and their frames one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import av
import numpy as np
from av.error import FFmpegError

from wan_core.contract.errors import MediaError
from wan_core.media.clock import rate_of
from wan_core.media.formats import MAX_COMMENT, MAX_PIXELS
from wan_core.media.gif import scan_gif
from wan_core.media.pictures import check_pixels
from wan_core.media.pixels import converter
from wan_core.media.sequence import picture_info, read_sequence, sequence_at
from wan_core.media.webp import read_webp, scan_webp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_FULL_RANGE = 2
# containers of video and single pictures; not playlists and scripts, which name other files. FFmpeg
# sees a film of a terminal ("tty") in any text
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,gif,avi,mpeg,mpegts,mpegvideo,flv,ogg,asf,ivf,h264,hevc,"
    "obu,mxf,nut,dv,yuv4mpegpipe,apng,jpegxl_anim,tty,jpeg_pipe,bmp_pipe,tiff_pipe,webp_pipe,"
    "jpegxl_pipe,j2k_pipe,qoi_pipe,ppm_pipe,pgm_pipe,pam_pipe,pbm_pipe,dpx_pipe,exr_pipe"
)


@attrs.frozen
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width, height: in pixels.
        frames: number of frames.
        fps: frames per second; 0 where the file does not say. GIF and WebP have coarse clocks: the
            simplest rate that fits.
        duration: in seconds.
        comment: the text kept in its metadata, or None; one beyond 256 KiB counts as none.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    duration: float
    comment: str | None


def probe(path: Path | str) -> VideoInfo:
    """What a video file says of itself; no frame is decoded.

    Args:
        path: a file; for a sequence of PNG pictures its folder, its pattern (``clip/%05d.png``), or
            any picture that :func:`write_video` has written.

    Raises:
        MediaError: it is not there, or it is no video.
    """
    path = Path(path)
    match reader_of(path):
        case "png":
            return _probe_sequence(path)
        case "gif":
            gif = scan_gif(path)
            return _on_clock(gif.width, gif.height, gif.durations, 100, gif.comment)
        case "webp":
            webp = scan_webp(path)
            return _on_clock(webp.width, webp.height, webp.durations, 1000, webp.comment)
    with opened_video(path) as (container, stream):
        # some formats don't state the number of frames
        frames = stream.frames or sum(1 for p in container.demux(stream) if p.size)
        rate = stream.average_rate or stream.guessed_rate or Fraction(0)
        if stream.duration:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = float(frames / rate) if rate else 0.0
        comment = container.metadata.get("comment", container.metadata.get("COMMENT"))
        if comment and len(comment.encode(errors="replace")) > MAX_COMMENT:
            comment = None
        return VideoInfo(
            stream.width, stream.height, frames, Fraction(rate), duration, comment or None
        )


def read_frames(path: Path | str) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video as RGB, ``[height, width, 3]`` uint8, at constant memory.

    Args:
        path: as for :func:`probe`.

    Raises:
        MediaError: with the first frame: it is not there, or it is no video; later: it is damaged.
    """
    path, frame = Path(path), None
    for frame in _frames(path):
        yield frame
    if frame is None:
        raise MediaError("this file has no video in it", where=str(path))


def _frames(path: Path) -> Iterator[NDArray[np.uint8]]:
    match reader_of(path):
        case "png":
            return read_sequence(sequence_at(path))
        case "webp":
            return read_webp(path)
    return _decoded(path)


def reader_of(path: Path) -> str:
    """Which reader takes a path: by the first bytes, whatever its name is."""
    try:
        if not path.is_file():
            if path.is_dir() or ("%" in path.name and path.suffix.lower() == ".png"):
                return "png"
            if path.exists():
                raise MediaError("this is a device or a pipe, not a video", where=str(path))
            numbered = "%" in path.name and path.parent.is_dir()
            remedy = "numbered pictures have to be PNG" if numbered else "check the path"
            raise MediaError("there is no such file", where=str(path), remedy=remedy)
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise MediaError(f"can't be read ({error.strerror})", where=str(path)) from error
    if not start:
        raise MediaError("this file is empty", where=str(path))
    if start.startswith(b"\x89PNG"):
        return "png"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "webp"
    return "gif" if start.startswith(b"GIF8") else ""


def _probe_sequence(path: Path) -> VideoInfo:
    sequence = sequence_at(path)
    info = picture_info(next(sequence.paths))
    rate = info.rate or Fraction(0)
    duration = float(sequence.frames / rate) if rate else 0.0
    return VideoInfo(info.width, info.height, sequence.frames, rate, duration, info.comment)


def _on_clock(
    width: int, height: int, durations: list[int], clock: int, comment: str | None
) -> VideoInfo:
    seconds = sum(durations) / clock
    rate = rate_of(durations, clock)
    return VideoInfo(width, height, len(durations), rate, seconds, comment or None)


def _decoded(path: Path) -> Iterator[NDArray[np.uint8]]:
    with opened_video(path) as (container, stream):
        to_rgb = ToRgb(str(path))
        for index, frame in enumerate(container.decode(stream)):
            yield to_rgb(frame, index)


class ToRgb:
    """Turns the decoded frames of one video into RGB ``[height, width, 3]`` uint8.

    Args:
        where: for the error.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._size = (0, 0)
        self._convert: Callable[[av.VideoFrame], av.VideoFrame] | None = None

    def __call__(self, frame: av.VideoFrame, index: int) -> NDArray[np.uint8]:
        """Convert frame number ``index``.

        Raises:
            MediaError: its size is not that of the first, or its colours are of an unknown kind.
        """
        size = (frame.width, frame.height)
        if self._convert is not None and size != self._size:
            raise MediaError(
                f"frame {index} is {size[0]}x{size[1]}, the first one is "
                f"{self._size[0]}x{self._size[1]}",
                where=self._where,
            )
        try:
            if self._convert is None:
                colours = _input_colors(frame)
                self._convert = converter(*size, frame.format.name, "rgb24", colours)
                self._size = size
            return self._convert(frame).to_ndarray().astype(np.uint8, copy=False)
        except (FFmpegError, OSError, ValueError) as error:
            raise MediaError(
                f"the colours of frame {index} can't be read ({error})", where=self._where
            ) from error


def _input_colors(frame: av.VideoFrame) -> str:
    """The scale filter's words for a frame's tags; files without tags are read as players do."""
    if frame.format.is_rgb:
        return "out_range=full"
    matrix = _MATRICES.get(int(frame.colorspace), "bt709" if frame.height >= 720 else "bt601")
    span = "full" if int(frame.color_range) == _FULL_RANGE else "limited"
    return f"in_color_matrix={matrix}:in_range={span}:out_range=full"


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """PyAV's container and its first video stream; what FFmpeg finds wrong is one sentence.

    Raises:
        MediaError: it is no video, damaged or too large.
    """
    where = str(path)
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with av.open(f"file:{path}", "r", options=options, metadata_errors="replace") as container:
            if not container.streams.video or container.format.name == "tty":
                raise MediaError("this file has no video in it", where=where)
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise MediaError("this is no video that can be read (unknown codec)", where=where)
            check_pixels(stream.width, stream.height, where)
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            yield container, stream
    # some of FFmpeg's numbers come as plain OSError
    except (FFmpegError, OSError) as error:
        raise MediaError(
            f"this is no video that can be read ({error.strerror})", where=where
        ) from error
