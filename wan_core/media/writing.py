"""``write_video``: chunks in, a video file out, at constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
from av.error import FFmpegError

from wan_core.contract.errors import MediaError
from wan_core.media.files import file_errors, replacing
from wan_core.media.formats import Format, check_target, exact_rate
from wan_core.media.pixels import converter, to_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BT709 = 1
_LIMITED = 1


def write_video(
    path: Path | str,
    chunks: Iterable[Any],
    fps: float | Fraction,
    *,
    comment: str | None = None,
    overwrite: bool = True,
    on_frames: Callable[[int], None] | None = None,
) -> int:
    """Pull chunks and encode them as they come.

    The file appears under its name only when it is complete: until then it is a hidden file beside
    it, which any error, Ctrl-C included, removes. The same frames give the same bytes.

    Args:
        path: its suffix chooses the format (:data:`wan_core.media.formats.FORMATS`); missing
            folders are made.
        chunks: torch tensors or arrays ``[frames, 3, height, width]``, floats in -1…1, or
            ``[frames, height, width, 3]`` uint8; closed at the end if it is a generator.
        fps: frames per second; 23.976 means 24000/1001.
        comment: text kept in the file's metadata.
        overwrite: an existing file is replaced.
        on_frames: told the number of frames encoded so far, after each chunk.

    Returns:
        the number of frames written.

    Raises:
        MediaError: the target, the size or the frames can't be written; there are no frames.
        ResourceError: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    rate = exact_rate(fps)
    known = check_target(path, overwrite=overwrite)
    iterator = iter(chunks)
    with replacing(path) as partial:
        encoder = _Encoder(path, partial, known, rate, comment)
        try:
            for chunk in iterator:
                frames = encoder.add(to_pixels(chunk))
                if on_frames:
                    on_frames(frames)
            encoder.finish()
        finally:
            encoder.abandon()
            if close := getattr(iterator, "close", None):
                close()
        check_target(path, overwrite=overwrite)  # hours may have passed since the first look
    return encoder.frames


class _Encoder:
    """Encodes frames into ``partial``; errors speak of ``path``. It opens with the first frame."""

    def __init__(
        self, path: Path, partial: Path, known: Format, rate: Fraction, comment: str | None
    ) -> None:
        self.frames = 0
        self._path = path
        self._partial = partial
        self._format = known
        self._rate = rate
        self._comment = comment
        self._size = (0, 0)
        self._container: Any = None

    def add(self, pixels: NDArray[np.uint8]) -> int:
        """Encode ``[frames, height, width, 3]`` and return the number of frames so far."""
        for picture in pixels:
            size = (picture.shape[1], picture.shape[0])
            with _encoding(self._path):
                if self._container is None:
                    self._open(*size)
                if size != self._size:
                    raise MediaError(
                        f"frame {self.frames} is {size[0]}x{size[1]}, the first one is "
                        f"{self._size[0]}x{self._size[1]}",
                        where=str(self._path),
                    )
                frame = self._convert(av.VideoFrame.from_ndarray(picture, format="rgb24"))
                frame.pts = self.frames
                frame.time_base = 1 / self._rate
                self._container.mux(self._stream.encode(frame))
            self.frames += 1
        return self.frames

    def finish(self) -> None:
        """Encode what is still held back and complete the file."""
        if self._container is None:
            raise MediaError("there are no frames to write", where=str(self._path))
        with _encoding(self._path):
            self._container.mux(self._stream.encode(None))
            container, self._container = self._container, None
            container.close()

    def abandon(self) -> None:
        """Close the file as it is; nothing happens after :meth:`finish`."""
        if self._container is not None:
            container, self._container = self._container, None
            with suppress(OSError, FFmpegError):
                container.close()

    def _open(self, width: int, height: int) -> None:
        known = self._format
        check_target(self._path, width=width, height=height)
        self._size = (width, height)
        self._convert = converter(
            width,
            height,
            "rgb24",
            known.pixels,
            "in_range=full:out_range=limited:out_color_matrix=bt709",
        )
        self._container = av.open(
            str(self._partial),
            "w",
            format=known.container,
            options=dict(known.container_options),
        )
        if self._comment is not None:
            self._container.metadata["comment"] = self._comment
        stream = self._container.add_stream(
            known.codec, rate=self._rate, options=dict(known.codec_options)
        )
        stream.width, stream.height, stream.pix_fmt = width, height, known.pixels
        # players guess the matrix from the size unless they are told
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        self._stream = stream


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    with file_errors(str(path)):
        try:
            yield
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise MediaError(f"can't be encoded ({error.strerror})", where=str(path)) from error
