"""``write_video``: chunks in, a video file out, at constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from av.error import FFmpegError

from wan_core.contract.errors import MediaError
from wan_core.contract.lazy import resolve
from wan_core.media.files import file_errors, replacing
from wan_core.media.formats import Format, check_comment, exact_rate, format_of
from wan_core.media.patterns import Pattern
from wan_core.media.pixels import to_pixels
from wan_core.media.targets import check_size, check_target, may_replace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@attrs.frozen
class Written:
    """A video that has been written.

    Attributes:
        path: where it is: where it was asked for, or beside it when that name was taken meanwhile.
        frames: their number.
    """

    path: Path
    frames: int


@attrs.frozen
class Job:
    """What an encoder has to do.

    Attributes:
        path: what is written, for errors; for a folder of pictures the pattern of their names.
        hidden: the file or folder to write to.
        width, height: of all frames, in pixels.
        rate: frames per second.
        comment: text to be kept in the file.
    """

    path: Path
    hidden: Path
    format: Format
    width: int
    height: int
    rate: Fraction
    comment: str | None


class Encoder(Protocol):
    """Encodes the frames of one job."""

    def add(self, picture: NDArray[np.uint8], index: int) -> None:
        """Encode frame number ``index``, ``[height, width, 3]``."""

    def finish(self) -> None:
        """Encode what is still held back and complete the file."""

    def abandon(self) -> None:
        """Close the file as it is; nothing happens after :meth:`finish`."""


def write_video(
    path: Path | str,
    chunks: Iterable[Any],
    fps: float | Fraction,
    *,
    comment: str | None = None,
    overwrite: bool = True,
    checked: bool = False,
    on_frames: Callable[[int], None] | None = None,
) -> Written:
    """Pull chunks and encode them as they come.

    The file appears under its name only when it is complete: until then it is a hidden file (or
    folder) beside it, which any error, Ctrl-C included, removes. The same frames give the same bytes.

    Args:
        path: its suffix chooses the format (:data:`wan_core.media.formats.FORMATS`); missing
            folders are made. ``clip/%05d.png`` makes the folder ``clip``, of one picture a frame.
        chunks: torch tensors or arrays ``[frames, 3, height, width]``, floats in -1…1, or
            ``[frames, height, width, 3]`` uint8; closed at the end if it is a generator.
        fps: frames per second; 23.976 means 24000/1001.
        comment: text kept in the file's metadata, up to 256 KiB of UTF-8.
        overwrite: an existing video is replaced. If not, and one has appeared since the start, the
            new one takes the next free name (``name-2.mp4``).
        checked: :func:`check_target` has been asked before the frames were computed: what is there by
            now has appeared since, and costs the video no more than its name.
        on_frames: told the number of frames encoded so far, after each chunk.

    Raises:
        MediaError: the target, the size, the comment or the frames can't be written; there are no
            frames.
        ResourceError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    rate = exact_rate(fps)
    check_comment(comment)
    known = format_of(path) if checked else check_target(path, fps=rate, overwrite=overwrite)
    pattern = Pattern.of(path) if known.folder else None
    iterator = iter(chunks)
    with replacing(
        path.parent if pattern else path,
        folder=pattern is not None,
        may_replace=lambda place: overwrite and may_replace(place, pattern),
    ) as partial:
        frames = _Frames(path, partial.hidden, known, rate, comment)
        try:
            for chunk in iterator:
                frames.add(to_pixels(chunk))
                if on_frames:
                    on_frames(frames.count)
            frames.finish()
        finally:
            frames.abandon()
            if close := getattr(iterator, "close", None):
                close()
    return Written(partial.path / path.name if pattern else partial.path, frames.count)


@attrs.define
class _Frames:
    """Gives frames to the encoder of their format, which opens with the first one."""

    path: Path
    hidden: Path
    format: Format
    rate: Fraction
    comment: str | None
    count: int = 0
    _job: Job | None = None
    _encoder: Encoder | None = None

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """Encode ``[frames, height, width, 3]``."""
        for picture in pixels:
            height, width = picture.shape[:2]
            with _encoding(self.path):
                encoder = self._encoder_for(width, height)
                encoder.add(picture, self.count)
            self.count += 1

    def finish(self) -> None:
        """Complete the file."""
        if self._encoder is None:
            raise MediaError("there are no frames to write", where=str(self.path))
        with _encoding(self.path):
            self._encoder.finish()

    def abandon(self) -> None:
        """Close the file as it is, unless it is finished."""
        if self._encoder is not None:
            self._encoder.abandon()

    def _encoder_for(self, width: int, height: int) -> Encoder:
        if self._encoder is None or self._job is None:
            check_size(self.path, self.format, width, height)
            job = Job(self.path, self.hidden, self.format, width, height, self.rate, self.comment)
            self._job, self._encoder = job, resolve(self.format.encoder)(job)
        if (width, height) != (self._job.width, self._job.height):
            raise MediaError(
                f"frame {self.count} is {width}x{height}, the first one is "
                f"{self._job.width}x{self._job.height}",
                where=str(self.path),
            )
        return self._encoder


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    with file_errors(str(path)):
        try:
            yield
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise MediaError(f"can't be encoded ({error.strerror})", where=str(path)) from error
