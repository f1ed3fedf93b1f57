"""Times on a coarse clock: GIF counts hundredths of a second, WebP thousandths."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

_USUAL = tuple(Fraction(rate) for rate in (16, 24, 25, 30, 8, 12, 15, 48, 50, 60))
_BROADCAST = tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 60, 48))


def tick(frame: int, rate: Fraction, clock: int) -> int:
    """The time of a frame in ticks, rounded to the nearest.

    Each frame is rounded by itself, so that errors don't add up.

    Args:
        rate: frames per second.
        clock: ticks per second.
    """
    return math.floor(frame * clock / rate + Fraction(1, 2))


def rate_of(durations: Iterable[int], clock: int) -> Fraction:
    """The simplest rate whose frames, rounded to ticks, last that long; else the average.

    Args:
        durations: of the frames, in ticks.
        clock: ticks per second.

    Returns:
        frames per second; 0 for what has no duration.
    """
    slowest, fastest = Fraction(0), Fraction(2 * clock)
    frames = time = 0
    for duration in durations:
        frames += 1
        time += duration
        slowest = max(slowest, Fraction(2 * frames * clock, 2 * time + 1))
        if time:
            fastest = min(fastest, Fraction(2 * frames * clock, 2 * time - 1))
    if not time:
        return Fraction(0)
    if slowest > fastest:
        return Fraction(frames * clock, time)
    simplest = _simplest(slowest, fastest)
    usual = _USUAL if simplest.denominator <= 2 else _BROADCAST
    return next((rate for rate in usual if slowest <= rate <= fastest), simplest)


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest denominator from ``low`` to ``high``."""
    whole = math.ceil(low)
    if whole <= high:
        return Fraction(whole)
    below = whole - 1
    return below + 1 / _simplest(1 / (high - below), 1 / (low - below))
