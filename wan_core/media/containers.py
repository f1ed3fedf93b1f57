"""Encoding with FFmpeg into a container: MP4, WebM, Matroska."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.error import FFmpegError

from wan_core.media.pixels import converter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wan_core.media.writing import Job

_BT709 = 1
_LIMITED = 1


class ContainerEncoder:
    """Encodes frames into a file of one video stream."""

    def __init__(self, job: Job) -> None:
        self._job = job
        known = job.format
        yuv = known.pixels.startswith("yuv")
        colours = "out_range=limited:out_color_matrix=bt709" if yuv else "out_range=full"
        self._convert = converter(
            job.width, job.height, "rgb24", known.pixels, f"in_range=full:{colours}"
        )
        self._container: Any = av.open(
            f"file:{job.hidden}",
            "w",
            format=known.container,
            options=dict(known.container_options),
        )
        if job.comment is not None:
            self._container.metadata["comment"] = job.comment
        options = dict(known.codec_options)
        if "slices" in options and min(job.width, job.height) < 16:
            options["slices"] = "1"  # there is not enough to cut
        stream: Any = self._container.add_stream(known.codec, rate=job.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = job.width, job.height, known.pixels
        if known.clock:
            stream.codec_context.time_base = Fraction(1, known.clock)
        if yuv:
            # players guess the matrix from the size unless they are told
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = _LIMITED
        self._stream = stream

    def add(self, picture: NDArray[np.uint8], index: int) -> None:
        """Encode frame number ``index``, ``[height, width, 3]``."""
        frame = self._convert(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        frame.pts = index
        frame.time_base = 1 / self._job.rate
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Encode what is still held back and complete the file."""
        self._container.mux(self._stream.encode(None))
        container, self._container = self._container, None
        container.close()

    def abandon(self) -> None:
        """Close the file as it is; nothing happens after :meth:`finish`."""
        if self._container is not None:
            container, self._container = self._container, None
            with suppress(OSError, FFmpegError):
                container.close()
