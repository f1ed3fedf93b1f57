"""Sizes and frames that published pipelines make of a picture or video they are given. No numpy, no torch.

Sizes are ``(width, height)`` in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from wan_core.contract.errors import MediaError

Size = tuple[int, int]


def area_size(width: int, height: int, max_area: int, multiple: int = 16) -> Size:
    """The size of a video of about ``max_area`` pixels with a picture's proportions: Wan's image to video.

    Each side is rounded down by itself, so that rounding may cost a step: an 832x480 picture gives 832x464
    in 480 * 832 pixels, as upstream. The picture is stretched to it.

    Args:
        multiple: pixels of the VAE's stride times the transformer's patch.

    Raises:
        MediaError: the proportions leave no whole step of one side.
    """
    aspect = height / width
    sides = (math.sqrt(max_area / aspect), math.sqrt(max_area * aspect))
    return _checked(
        int(sides[0] // multiple) * multiple, int(sides[1] // multiple) * multiple, width, height
    )


def best_size(width: int, height: int, area: int, multiple: int = 32) -> Size:
    """Likewise for Wan 2.2 TI2V-5B, which rounds one side and takes the other from the area that is left.

    Of the two ways the one closer to the picture's proportions; if equally close, the one that begins with
    the height. The picture covers it and is cut in the middle.

    Raises:
        MediaError: as for :func:`area_size`.
    """
    ratio = width / height
    wide = math.sqrt(area * ratio)
    high = area / wide
    found = []
    for first, is_width in ((wide, True), (high, False)):
        one = int(first // multiple * multiple)
        two = int(area / one // multiple * multiple) if one else 0
        size = _checked(*((one, two) if is_width else (two, one)), width, height)
        got = size[0] / size[1]
        found.append((max(ratio / got, got / ratio), size))
    (by_width, one_size), (by_height, other_size) = found
    return one_size if by_width < by_height else other_size


@attrs.frozen
class Picking:
    """Frames and size that VACE takes of a source video.

    Attributes:
        frames: numbers of the frames.
        size: of the result.
        fps: of the result.
    """

    frames: tuple[int, ...]
    size: Size
    fps: float


def vace_picking(
    width: int, height: int, times: Sequence[tuple[float, float]], seq_len: int, area: int
) -> Picking:
    """What VACE's video processor takes of a video, so that it fits into ``seq_len`` tokens.

    Args:
        times: start and end of each frame in seconds (float32 numbers).
        seq_len: tokens at most.
        area: pixels at most.

    Raises:
        MediaError: the video is too small or has no frames.
    """
    cells = (height // 16) * (width // 16)
    if not times or not cells:
        raise MediaError(f"a video of {len(times)} frames of {width}x{height} is too small")
    most = min(seq_len, area / 256, cells)
    latents = min((len(times) - 1) // 4 + 1, int(seq_len / most))
    most = min(most, int(seq_len / latents))
    rows = round(math.sqrt(most * height / width))
    columns = int(most / rows) if rows else 0
    size = _checked(16 * columns, 16 * rows, width, height)
    count = 4 * (latents - 1) + 1
    length = (times[-1][0] + times[-1][1]) / 2
    moments = [length * index / (count - 1) for index in range(count)] if count > 1 else [0.0]
    frames, number = [], 0
    for moment in moments:
        while number < len(times) - 1 and times[number][1] < moment:
            number += 1
        frames.append(number)
    return Picking(tuple(frames), size, count / length)


def similar(one: Size, other: Size) -> bool:
    """Whether two sizes have the same proportions, but for a percent."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= 0.01


def _checked(wide: int, high: int, width: int, height: int) -> Size:
    if wide < 1 or high < 1:
        raise MediaError(
            f"a picture of {width}x{height} is too narrow for a video of its proportions",
            remedy="cut it, or state width and height",
        )
    return wide, high
