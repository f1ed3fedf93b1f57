"""Fields for amounts of memory, and how these are written."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import attrs

from wan_core.contract.options import OptionError, checked_field, show

_UNITS: dict[str, int] = {"B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGTP", start=1)
    for suffix, base in (("B", 1000), ("iB", 1024))
}
_UNITS_FOLDED = {unit.casefold(): size for unit, size in _UNITS.items()}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]+)")
_SIZE_LIMIT = 2**50
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*%")


def size_in_bytes(*, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """An amount of memory: ``"12GiB"``, ``"800MB"``, a number of bytes, or ``"auto"`` (None).

    Decimal units (kB, MB, GB) count in thousands, binary ones (KiB, MiB, GiB) in 1024.
    """

    def check(value: Any, name: str) -> int | None:
        return None if value == "auto" else amount(value, name, '"12GiB", "800MB" or "auto"')

    return checked_field(
        check,
        default=default,
        allowed='an amount of memory such as "12GiB" or "800MB", or "auto"',
        help=help,
        unset=unset,
        raw=True,
        write=format_bytes,
    )


def budget(*, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """A bound of memory: an amount as of :func:`size_in_bytes`, or a share of all that the device has.

    A share is a float above 0 and at most 1, written ``0.8`` or ``"80%"``. Annotate the attribute
    ``int | float | None``.
    """

    def check(value: Any, name: str) -> int | float | None:
        if value == "auto":
            return None
        share = _share(value)
        if share is None:
            return amount(value, name, '"12GiB", "80%" or "auto"')
        if not 0 < share <= 1:
            raise OptionError(
                name,
                f"must be a share above 0 and at most 1, not {show(value)}",
                remedy='write it like 0.8 or "80%"',
            )
        return share

    return checked_field(
        check,
        default=default,
        allowed='an amount such as "12GiB", a share such as 0.8 or "80%", or "auto"',
        help=help,
        unset=unset,
        raw=True,
        write=format_budget,
    )


def format_bytes(size: int | None) -> str | int:
    """The shortest exact way to write an amount of memory: ``"12GiB"``, or a number of bytes."""
    if size is None:
        return "auto"
    exact = [
        f"{size // unit}{name}"
        for name, unit in _UNITS.items()
        if unit > 1 and size and size % unit == 0
    ]
    return min(exact, key=len) if exact else size


def format_budget(bound: float | None) -> str | int | float:
    """The way to write a bound: a share as it is, an amount as :func:`format_bytes` writes it."""
    return bound if isinstance(bound, float) else format_bytes(bound)


def amount(value: object, name: str, example: str = '"12GiB" or "800MB"') -> int:
    """An amount of memory in bytes.

    Args:
        name: of the option, for messages.
        example: of how to write it.

    Raises:
        OptionError: it is none, or a senseless one.
    """
    size = _bytes(value)
    if size is None:
        raise OptionError(
            name,
            f"must be an amount of memory, not {show(value)}",
            remedy=f"write it like {example}",
        )
    if not 2**20 <= size <= _SIZE_LIMIT:
        raise OptionError(
            name,
            f"must be from 1MiB to 1PiB, not {show(value)}",
            remedy='a unit goes with it, as in "12GiB"' if isinstance(value, int) else "",
        )
    return size


def _share(value: object) -> float | None:
    """A share of memory; None when ``value`` is none."""
    if isinstance(value, float) and math.isfinite(value):
        return value
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(Decimal(match[1]) / 100) if match else None


def _bytes(value: object) -> int | None:
    """An amount of memory in bytes; None when ``value`` is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    unit = _UNITS_FOLDED.get(match[2].casefold()) if match else None
    if match is None or unit is None:
        return None
    return math.floor(Decimal(match[1]) * unit)
