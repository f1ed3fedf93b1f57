"""``compare_videos``: whether two videos show the same, and if not how far they are apart."""

from __future__ import annotations

import math
from itertools import zip_longest
from pathlib import Path

import attrs
import numpy as np

from wan_core.media.reading import read_frames


@attrs.frozen
class Comparison:
    """How two videos differ.

    Attributes:
        frames: how many frames were compared: those that both have.
        equal: as many frames, of the same size, with the same pixels.
        first_difference: number of the first frame, from 0, that differs or that only one of them
            has; None when they are equal.
        max_difference: the largest difference of a value, 0 to 255.
        psnr: of all frames compared, in dB; None when they have no difference.
        mismatch: in words, when sizes or numbers of frames differ; else empty. Frames of different
            sizes are not compared.
    """

    frames: int
    equal: bool
    first_difference: int | None
    max_difference: int
    psnr: float | None
    mismatch: str = ""


def compare_videos(a: Path | str, b: Path | str) -> Comparison:
    """Compare the 8-bit frames of two videos one by one, at constant memory.

    Raises:
        MediaError: one of them can't be read.
    """
    compared = values = squares = largest = 0
    first: int | None = None
    counts = [0, 0]
    for index, (one, other) in enumerate(zip_longest(read_frames(a), read_frames(b))):
        counts[0] += one is not None
        counts[1] += other is not None
        if one is None or other is None:
            first = index if first is None else first
            continue
        if one.shape != other.shape:
            sizes = [f"{frame.shape[1]}x{frame.shape[0]}" for frame in (one, other)]
            return Comparison(
                0, False, 0, 0, None, f"the first is {sizes[0]}, the second {sizes[1]}"
            )
        compared += 1
        difference = np.abs(one.astype(np.int16) - other)
        worst = int(difference.max())
        largest = max(largest, worst)
        squares += int(np.square(difference, dtype=np.int64).sum())
        values += difference.size
        if worst and first is None:
            first = index
    mismatch = ""
    if counts[0] != counts[1]:
        mismatch = f"the first has {counts[0]} frames, the second {counts[1]}"
    psnr = 10 * math.log10(255**2 * values / squares) if squares else None
    return Comparison(compared, first is None, first, largest, psnr, mismatch)
