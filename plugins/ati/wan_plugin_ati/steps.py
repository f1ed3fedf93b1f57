"""Which steps of a run see the tracks. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from wan_core.contract import StepRange


def leads(step: int, steps: int, start: float, end: float) -> bool:
    """Whether the tracks lead at a step, by the rule of ComfyUI-WanVideoWrapper: both ends count.

    The first step counts with any end above 0.
    """
    fraction = step / steps
    return start <= fraction <= end or (end > 0 and step == 0 and fraction >= start)


def spans(steps: int, start: float, end: float) -> list[tuple[bool, StepRange]]:
    """The whole run in parts: whether the tracks lead, and the steps of the part."""
    told = [leads(step, steps, start, end) for step in range(steps)]
    bounds = [0, *(i for i in range(1, steps) if told[i] != told[i - 1]), steps]
    return [
        (told[first], StepRange(first / steps, last / steps)) for first, last in pairwise(bounds)
    ]


def within(one: StepRange, other: StepRange) -> StepRange | None:
    """The steps of both; None where there are none."""
    start, end = max(one.start, other.start), min(one.end, other.end)
    return StepRange(start, end) if start < end else None


def parts(
    whole: StepRange, spans: Sequence[tuple[bool, StepRange]]
) -> list[tuple[bool, StepRange]]:
    """Those parts of a run that lie in ``whole``."""
    found = [(led, within(span, whole)) for led, span in spans]
    return [(led, span) for led, span in found if span is not None]
