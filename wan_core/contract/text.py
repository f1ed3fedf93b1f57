"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Iterable


def duration(seconds: float) -> str:
    """``"0.4 s"``, ``"12 s"``, ``"2 min 05 s"``, ``"1 h 12 min"``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


TWO_FILES = '{ high = "FILE", low = "FILE" }'
"""How a workflow names the files of two experts."""


def slot_in_words(slot: str) -> str:
    """``"text encoder"``; of two experts ``"transformer for high noise"``."""
    part, _, expert = slot.partition(".")
    return part.replace("_", " ") + (f" for {expert} noise" if expert else "")


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of neighbours: ``[(0, 3), (7, 7)]`` of 0, 1, 2, 3 and 7."""
    found: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
