"""Guidance from what a workflow file says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.errors import WorkflowError, nearest
from wan_core.contract.protocols import Guidance
from wan_core.sampling.guidance import CFG, ByExpert
from wan_core.sampling.guidance_edits import (
    RAAG,
    TCFG,
    Edit,
    FreSca,
    TemporalScoreRescaling,
    ZeroStar,
)

EDITS: Mapping[str, type[Edit]] = {
    "zero_star": ZeroStar,
    "tcfg": TCFG,
    "raag": RAAG,
    "fresca": FreSca,
    "tsr": TemporalScoreRescaling,
}
"""Name in the workflow -> edit, in the order in which they are applied."""

SCALES = ("scale", "high", "low")
KNOWN = (*SCALES, "zero_steps", *EDITS)


def build_guidance(value: Any, *, boundary: float | None = None) -> Guidance:
    """The guidance that a workflow's ``guidance = …`` asks for.

    Args:
        value: a number; a list of numbers, one per step; or a table: ``scale`` (or ``high`` and
            ``low``) as number or list, ``zero_steps``, and per edit ``true`` or a table of its
            options, e.g. ``{scale = 5.0, zero_star = true, fresca = {high = 1.25}}``.
        boundary: noise level at which two experts change over; then a list of two numbers is
            (high noise, low noise), as in a family's preset.

    Raises:
        WorkflowError: the value says something else.
    """
    options: Mapping[str, Any] = value if isinstance(value, Mapping) else {"scale": value}
    for key in options:
        if key not in KNOWN:
            raise WorkflowError(f'guidance has no option "{key}"', remedy=nearest(key, KNOWN))
    edits = [_edit(name, options[name]) for name in EDITS if options.get(name, False) is not False]
    zero_steps = options.get("zero_steps", 0)
    if not isinstance(zero_steps, int) or zero_steps < 0:
        raise WorkflowError("guidance.zero_steps is no number of steps", remedy="write e.g. 1")

    def cfg(scales: Any) -> CFG:
        return CFG(_numbers(scales), edits=tuple(edits), zero_steps=zero_steps)

    high, low = _by_expert(options, boundary)
    if boundary is None or high == low:
        return cfg(high)
    return ByExpert(cfg(high), cfg(low), boundary)


def _by_expert(options: Mapping[str, Any], boundary: float | None) -> tuple[Any, Any]:
    """What the table says for the two experts; twice the same when it does not tell them apart."""
    if "high" in options or "low" in options:
        if boundary is None or "scale" in options or not {"high", "low"} <= set(options):
            raise WorkflowError(
                "guidance.high and guidance.low do not fit here",
                remedy="give both, without scale, and only for a model of two experts",
            )
        return options["high"], options["low"]
    if "scale" not in options:
        raise WorkflowError("guidance has no scale", remedy="add scale = 5.0")
    scale = options["scale"]
    if boundary is not None and isinstance(scale, Sequence) and len(scale) == 2:
        return scale[0], scale[1]
    return scale, scale


def _numbers(value: Any) -> tuple[float, ...]:
    listed = list(value) if isinstance(value, list | tuple) else [value]
    fine = all(isinstance(v, int | float) and not isinstance(v, bool) for v in listed)
    if not listed or not fine:
        raise WorkflowError(
            f"guidance is {value!r}", remedy="write a number, or a list with one number per step"
        )
    return tuple(float(v) for v in listed)


def _edit(name: str, options: Any) -> Edit:
    try:
        return EDITS[name](**({} if options is True else dict(options)))
    except (TypeError, ValueError):
        fields = ", ".join(field.name for field in attrs.fields(EDITS[name]))
        raise WorkflowError(
            f"guidance.{name} is {options!r}",
            remedy=f"write true, or a table of {fields}" if fields else "write true or false",
        ) from None
