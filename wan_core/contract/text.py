"""Figures as people read them."""

from __future__ import annotations


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
