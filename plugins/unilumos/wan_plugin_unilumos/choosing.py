"""Which frames of a video are taken. Imports no torch.

Source of the makers' rule: alibaba-damo-academy/Lumos-Custom, ``src/datasets/datasets.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import attrs
import numpy as np

from wan_core.media import Part

MOST_SKIPPED = 10
"""Frames that the makers' rule leaves out at either end, at most."""

Frame = TypeVar("Frame")


@attrs.frozen
class Pick:
    """Frames of a source, in their order.

    Attributes:
        part: of a file: what is read of it.
        indices: rising numbers of frames of what is read, some perhaps several times; None = all.
        frames: how many that makes; None = any number (a picture).
    """

    part: Part = attrs.field(factory=Part)
    indices: tuple[int, ...] | None = None
    frames: int | None = None


def frame_indices(
    source_frames: int, source_fps: float, frames: int, fps: float
) -> tuple[int, ...]:
    """The makers' choice of ``frames`` frames, to be shown at ``fps``, from a source.

    A few are left out at either end where there are enough; the rest is taken at equal distances; a short
    source is stretched by repeating frames.
    """
    needed = math.ceil(frames / fps * source_fps)
    skipped = min(MOST_SKIPPED, max(source_frames - needed, 0) // 2)
    length = max(frames, round((source_frames - 2 * skipped) / source_fps * fps))
    last = source_frames - 1 - skipped
    # as numpy.linspace computes them, but only those that are taken
    places = np.arange(frames) * ((last - skipped) / max(length - 1, 1)) + skipped
    if frames == length > 1:
        places[-1] = last
    return tuple(int(index) for index in np.rint(places))


def at_rate(source_frames: int, source_fps: float, fps: float) -> tuple[int, ...]:
    """The frame nearest to each ``k / fps``, as long as there is one."""
    count = max(1, math.ceil((source_frames - 0.5) * fps / source_fps))
    places = (math.floor(k * source_fps / fps + 0.5) for k in range(count))
    return tuple(index for index in places if index < source_frames)


def picked(frames: Iterable[Frame], indices: Sequence[int] | None) -> Iterator[Frame]:
    """The frames of these numbers, which rise; no more than one is held, and none is read behind the last."""
    if indices is None:
        yield from frames
        return
    numbered, at = iter(enumerate(frames)), -1
    frame: Frame | None = None
    for index in indices:
        while at < index:
            at, frame = next(numbered, (index, frame))
        if frame is not None:
            yield frame


def held(frames: Iterable[Frame], count: int) -> Iterator[Frame]:
    """So many frames: the last one is repeated where there are fewer."""
    made, last = 0, None
    for last in frames:
        made += 1
        yield last
        if made == count:
            return
    while last is not None and made < count:
        made += 1
        yield last
