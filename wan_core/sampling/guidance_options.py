"""Guidance from what a workflow file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
from wan_core.sampling.guidance_table import EDITS, check_experts, check_guidance

CLASSES: Mapping[str, type[Edit]] = {
    "zero_star": ZeroStar,
    "tcfg": TCFG,
    "raag": RAAG,
    "fresca": FreSca,
    "tsr": TemporalScoreRescaling,
}
"""Name in the workflow -> edit."""


def build_guidance(value: Any, *, boundary: float | None = None) -> Guidance:
    """The guidance that a workflow's ``guidance = …`` asks for.

    Args:
        value: as :func:`wan_core.sampling.guidance_table.check_guidance` allows it.
        boundary: noise level at which two experts change over; then a list of two numbers is
            (high noise, low noise), as in a family's preset.

    Raises:
        OptionError: the value says something else.
    """
    checked = check_guidance(value)
    check_experts(checked, two=boundary is not None)
    table: Mapping[str, Any] = checked if isinstance(checked, Mapping) else {"scale": checked}
    edits = tuple(_edit(name, table[name]) for name in EDITS if table.get(name, False) is not False)

    def cfg(scales: Any) -> CFG:
        return CFG(scales, edits, table.get("zero_steps", 0))

    if "high" in table:
        high, low = table["high"], table["low"]
    elif boundary is not None and isinstance(table["scale"], tuple) and len(table["scale"]) == 2:
        high, low = table["scale"]
    else:
        high = low = table["scale"]
    if boundary is None or high == low:
        return cfg(high)
    return ByExpert(cfg(high), cfg(low), boundary)


def _edit(name: str, options: Any) -> Edit:
    return CLASSES[name](**({} if options is True else options))
