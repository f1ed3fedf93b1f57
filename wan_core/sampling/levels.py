"""Noise levels that the user states, and where a denoise strength begins. No torch."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import pairwise

from wan_core.contract.errors import WorkflowError


def check_levels(sigmas: Sequence[float]) -> None:
    """Refuse noise levels that no solver can run: they must fall strictly from at most 1 to at least 0.

    They are compared as they are stored, in float32: of two that become one there, no step is left.
    A last level above 0 is allowed, it ends the run early as a slice of a schedule does.

    Raises:
        WorkflowError: there are fewer than two, or they do not fall.
    """
    stored = array("f", sigmas)
    falling = all(high > low for high, low in pairwise(stored))
    if len(stored) < 2 or not falling or not 0.0 <= stored[-1] < stored[0] <= 1.0:
        raise WorkflowError(
            f"the noise levels {[round(s, 4) for s in sigmas]} do not fall from at most 1 to 0",
            remedy="give at least two falling numbers, the last one normally 0",
        )


def first_step(steps: int, strength: float | None) -> int:
    """The step at which a change of a given video begins; 0 for strength 1 and None.

    Source: kijai/ComfyUI-WanVideoWrapper ``nodes_sampler.py``.
    """
    return 0 if strength in (None, 1.0) else max(steps - int(steps * strength) - 1, 0)
