"""What a workflow may say as ``guidance = …``. Imports no torch: workflows are read with it.

A number; a list of numbers, one per step; or a table such as ``{scale = 5.0, zero_star = true, fresca =
{high = 1.25}}``. :func:`wan_core.sampling.build_guidance` makes the object of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from wan_core.contract.errors import nearest
from wan_core.contract.options import OptionError, show

LIMIT = 100.0
ALLOWED = (
    "a number from -100 to 100, a list of such numbers (one per step), or a table "
    "{scale = 5.0, zero_star = true, …}"
)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(name, f"must be a number, not {show(value)}")
    if not math.isfinite(value) or abs(value) > LIMIT:
        raise OptionError(name, f"must be from -100 to 100, not {show(value)}")
    return float(value)


def _above_zero(value: Any, name: str) -> float:
    number = _number(value, name)
    if number <= 0:
        raise OptionError(name, f"must be above 0, not {show(value)}")
    return number


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(name, f"must be a whole number, not {show(value)}")
    if not 0 <= value <= 1000:
        raise OptionError(name, f"must be from 0 to 1000, not {show(value)}")
    return value


SCALES = ("scale", "high", "low")
EDITS: Mapping[str, Mapping[str, Callable[[Any, str], float]]] = {
    "zero_star": {},
    "tcfg": {},
    "raag": {"alpha": _number},
    "fresca": {"low": _number, "high": _number, "cutoff": _whole},
    "tsr": {"k": _above_zero, "sigma": _above_zero},
}
"""Edit -> its options and what checks them, in the order in which the edits are applied."""


def check_guidance(value: Any, name: str = "guidance") -> Any:
    """The value with its numbers as floats and its lists as tuples; the only check there is.

    Args:
        value: a number, a list of 1 to 1000 numbers, or a table: ``scale`` (or ``high`` and ``low``)
            as number or list, ``zero_steps``, and per edit ``true``, ``false`` or a table of its
            options.
        name: what the messages call it.

    Raises:
        OptionError: the value says something else.
    """
    if not isinstance(value, Mapping):
        return _scale(value, name)
    known = (*SCALES, "zero_steps", *EDITS)
    for key in value:
        if key not in known:
            raise OptionError(name, f'has no option "{key}"', remedy=nearest(str(key), known))
    given = {key for key in SCALES if key in value}
    if not given:
        raise OptionError(name, "has no scale", remedy="add scale = 5.0")
    if given not in ({"scale"}, {"high", "low"}):
        raise OptionError(
            name,
            f"has {' and '.join(key for key in SCALES if key in given)}",
            remedy="give scale alone, or high and low for a model of two experts",
        )
    return {key: _entry(value[key], key, f"{name}.{key}") for key in value}


def check_experts(value: Any, *, two: bool, name: str = "guidance") -> None:
    """Refuse ``high`` and ``low`` for a model that has no two experts.

    Raises:
        OptionError: the table tells experts apart that are not there.
    """
    if not two and isinstance(value, Mapping) and "high" in value:
        raise OptionError(
            name,
            "has high and low, but the model has only one expert",
            remedy="give scale instead",
        )


def check_zero_steps(value: Any, steps: int, name: str = "guidance") -> None:
    """Refuse ``zero_steps`` that leave none of the run's steps to the model.

    Raises:
        OptionError: they do.
    """
    zero = value.get("zero_steps", 0) if isinstance(value, Mapping) else 0
    if zero >= steps:
        raise OptionError(
            f"{name}.zero_steps",
            f"is {zero}, which leaves the model nothing to do in a run of {steps}",
            remedy=f"use at most {steps - 1}",
        )


def check_lengths(value: Any, steps: int, name: str = "guidance") -> None:
    """Refuse a list of more numbers than there are steps; the last of a shorter one goes on.

    Raises:
        OptionError: some would never count.
    """
    table = value if isinstance(value, Mapping) else {"scale": value}
    for key in SCALES:
        scale = table.get(key)
        if isinstance(scale, tuple | list) and len(scale) > steps:
            raise OptionError(
                name if table is not value else f"{name}.{key}",
                f"has {len(scale)} numbers for {steps} step{'s' * (steps != 1)}",
                remedy="give one for each step at most",
            )


def _entry(value: Any, key: str, name: str) -> Any:
    if key in SCALES:
        return _scale(value, name)
    if key == "zero_steps":
        return _whole(value, name)
    if isinstance(value, bool):
        return value
    options = EDITS[key]
    if not isinstance(value, Mapping) or not options:
        choices = "true, false or a table" if options else "true or false"
        raise OptionError(name, f"must be {choices}, not {show(value)}")
    for option in value:
        if option not in options:
            remedy = nearest(str(option), options)
            raise OptionError(name, f'has no option "{option}"', remedy=remedy)
    return {option: options[option](one, f"{name}.{option}") for option, one in value.items()}


def _scale(value: Any, name: str) -> float | tuple[float, ...]:
    if isinstance(value, list | tuple):
        if not 1 <= len(value) <= 1000:
            raise OptionError(name, f"must have 1 to 1000 numbers, not {len(value)}")
        return tuple(_number(one, name) for one in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(name, f"must be {ALLOWED}, not {show(value)}")
    return _number(value, name)
