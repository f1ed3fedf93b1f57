"""Pixels: from the -1…1 of decoders to 8 bits, and between RGB and the YUV that is encoded."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from wan_core.contract.errors import MediaError

if TYPE_CHECKING:
    import av
    from numpy.typing import NDArray


def to_pixels(chunk: Any) -> NDArray[np.uint8]:
    """A chunk of video as 8-bit RGB.

    Args:
        chunk: a torch tensor (on any device) or an array: ``[frames, 3, height, width]`` of floats
            in -1…1 (values beyond are clipped), or ``[frames, height, width, 3]`` uint8.

    Returns:
        ``[frames, height, width, 3]`` uint8.

    Raises:
        MediaError: a value is not a finite number.
        ValueError: the chunk has another shape or dtype.
    """
    if hasattr(chunk, "detach"):
        if chunk.is_floating_point():
            # rounded where the tensor lives: a quarter of the bytes cross from the device
            chunk = _tensor_to_pixels(chunk)
        chunk = chunk.detach().cpu().numpy()
    pixels = np.asarray(chunk)
    if pixels.dtype.kind == "f" and pixels.ndim == 4 and pixels.shape[1] == 3:
        _require_finite(bool(np.isfinite(pixels).all()))
        scaled = (np.clip(pixels, -1, 1).astype(np.float32) + 1) * 127.5
        pixels = np.rint(scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(
            "a chunk is [frames, 3, height, width] of floats or [frames, height, width, 3] uint8, "
            f"this one is {list(pixels.shape)} {pixels.dtype}"
        )
    return np.ascontiguousarray(pixels)


def _tensor_to_pixels(chunk: Any) -> Any:
    if chunk.ndim != 4 or chunk.shape[1] != 3:
        return chunk
    _require_finite(bool(chunk.isfinite().all()))
    scaled = chunk.float().clamp(-1, 1).add(1).mul(127.5).round()
    return scaled.byte().permute(0, 2, 3, 1)


def _require_finite(finite: bool) -> None:
    if not finite:
        raise MediaError(
            "the decoded video has values that are not numbers",
            remedy="try a larger precision for the VAE",
        )


def converter(
    width: int, height: int, source: str, target: str, options: str
) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """A function that converts frames from one pixel format to another.

    FFmpeg's scaler truncates by default, which darkens a video by a step of 255; here it rounds.

    Args:
        source, target: names of pixel formats.
        options: of the scale filter: colour matrices and ranges.
    """
    import av.filter

    graph = av.filter.Graph()
    steps = [
        graph.add_buffer(
            width=width, height=height, format=av.VideoFormat(source), time_base=Fraction(1)
        ),
        graph.add("scale", f"{options}:flags=bicubic+accurate_rnd+full_chroma_int"),
        graph.add("format", target),
        graph.add("buffersink"),
    ]
    for one, following in pairwise(steps):
        one.link_to(following)
    graph.configure()

    def convert(frame: av.VideoFrame) -> av.VideoFrame:
        graph.push(frame)
        converted = graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return converted

    return convert
