"""Scales that a LoRA file states beside its tensors: diffusers keeps PEFT's configuration in the header."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["stated_alphas"]

ENTRY = "lora_adapter_metadata"
LONGEST = 2**20
MOST = 1e9
"""Alphas above it are no alphas."""
DEEPEST = 12
"""Parts at the start of a module's path that a pattern may leave out, and one."""

Alphas = Callable[[str, int], float | None]


def stated_alphas(metadata: Mapping[str, str]) -> Alphas:
    """``(path of a module, rank) -> alpha`` as the header's entry ``lora_adapter_metadata`` says it.

    The scale is alpha over rank; with ``use_rslora`` it is over the root of the rank, which is said by an
    alpha that is larger. An entry that makes no sense says nothing.
    """
    try:
        raw = metadata.get(ENTRY, "")
        found: Any = json.loads(raw) if 0 < len(raw) <= LONGEST else {}
    except (ValueError, RecursionError):
        found = {}
    said = found if isinstance(found, dict) else {}

    def entry(path: str, key: str) -> Any:
        lead = path.partition(".")[0]
        return said.get(f"{lead}.{key}", said.get(key))

    def alpha(path: str, rank: int) -> float | None:
        patterns = entry(path, "alpha_pattern")
        value = entry(path, "lora_alpha")
        if isinstance(patterns, dict):
            ends = (path, *(path.split(".", cut)[-1] for cut in range(1, DEEPEST)))
            value = next((patterns[end] for end in ends if end in patterns), value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not abs(value) <= MOST:  # nan is not, either
            return None
        stabilised = entry(path, "use_rslora") is True
        return float(value) * (math.sqrt(rank) if stabilised else 1.0)

    return alpha
