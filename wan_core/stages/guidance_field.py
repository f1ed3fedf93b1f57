"""The option ``guidance`` as a workflow may write it, checked without importing torch.

A number; a list of numbers, one per step; or a table such as ``{scale = 5.0, zero_star = true, fresca =
{high = 1.25}}`` (see :func:`wan_core.sampling.build_guidance`, which makes the object of it).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from wan_core.contract.errors import nearest
from wan_core.contract.options import OptionError, show

SCALES = ("scale", "high", "low")
EDITS: Mapping[str, tuple[str, ...]] = {
    "zero_star": (),
    "tcfg": (),
    "raag": ("alpha",),
    "fresca": ("low", "high", "cutoff"),
    "tsr": ("k", "sigma"),
}
"""Edit -> its options; a test compares them with the classes in ``wan_core.sampling``."""

LIMIT = 100.0
ALLOWED = (
    "a number from -100 to 100, a list of such numbers (one per step), or a table "
    "{scale = 5.0, zero_star = true, …}"
)


def guidance_field(*, help: str, unset: str) -> Any:
    """The attrs field; None means the family's preset."""
    return attrs.field(
        default=None,
        converter=attrs.Converter(_convert, takes_field=True),
        metadata={"help": help, "unset": unset, "allowed": ALLOWED, "raw": True},
    )


def _convert(value: Any, field: attrs.Attribute[Any]) -> Any:
    name = field.name
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return _scale(value, name)
    known = (*SCALES, "zero_steps", *EDITS)
    for key in value:
        if key not in known:
            raise OptionError(name, f'has no option "{key}"', remedy=nearest(key, known))
    if not any(key in value for key in SCALES):
        raise OptionError(name, "has no scale", remedy="add scale = 5.0")
    table = {key: _entry(value[key], key, f"{name}.{key}") for key in value}
    if table.get("zero_steps", 0) < 0:
        raise OptionError(f"{name}.zero_steps", "must not be negative")
    return table


def _entry(value: Any, key: str, name: str) -> Any:
    if key in SCALES:
        return _scale(value, name)
    if key == "zero_steps":
        if isinstance(value, bool) or not isinstance(value, int):
            raise OptionError(name, f"must be a whole number, not {show(value)}")
        return value
    if isinstance(value, bool):
        return value
    if not isinstance(value, Mapping) or not EDITS[key]:
        choices = "true, false or a table" if EDITS[key] else "true or false"
        raise OptionError(name, f"must be {choices}, not {show(value)}")
    for option in value:
        if option not in EDITS[key]:
            remedy = nearest(option, EDITS[key])
            raise OptionError(name, f'has no option "{option}"', remedy=remedy)
    return {option: _number(one, f"{name}.{option}") for option, one in value.items()}


def _scale(value: Any, name: str) -> float | tuple[float, ...]:
    if not isinstance(value, list | tuple):
        return float(_number(value, name))
    if not 1 <= len(value) <= 1000:
        raise OptionError(name, f"must have 1 to 1000 numbers, not {len(value)}")
    return tuple(float(_number(one, name)) for one in value)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(name, f"must be {ALLOWED}, not {show(value)}")
    if not math.isfinite(value) or abs(value) > LIMIT:
        raise OptionError(name, f"must be from -100 to 100, not {show(value)}")
    return value
