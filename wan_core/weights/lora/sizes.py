"""Bytes of LoRA files that are kept apart, in closed form from their headers. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod

from wan_core.contract.loras import LoraUse
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.lora.patches import Patch
from wan_core.weights.lora.uses import factor_of, unit_of

__all__ = ["apart_bytes", "work_bytes"]

Shape = tuple[int, ...]
ROW = 12
"""Bytes beside each row of a pair: the number of its file and its factor."""
NUMBERS = 8
"""Bytes beside any other patch: its scale and its factor."""


def apart_bytes(
    file: LoraFile, use: LoraUse, shapes: Mapping[str, Shape], item: int
) -> dict[str, int]:
    """What a file adds to each unit: unit -> bytes, ``""`` for what belongs to no unit.

    A pair of rank r beside a weight ``[outputs, inputs]`` adds ``r * (inputs + outputs)`` values.

    Args:
        shapes: of the model's tensors.
        item: bytes of a value of the model's weights.
    """
    found: Counter[str] = Counter()
    for patch in file.patches:
        if factor_of(use, patch):
            found[unit_of(patch.target)] += _bytes(patch, file, shapes[patch.target], item)
    return dict(found)


def work_bytes(file: LoraFile, use: LoraUse, shapes: Mapping[str, Shape], item: int) -> int:
    """What the largest changed weight takes while it is computed with, beside weights and factors.

    With pairs it is the changed weight; for other forms the weight, its change and their sum in float32, too.
    """
    return max(
        (
            prod(shapes[patch.target]) * (item if patch.is_pair else item + 16)
            for patch in file.patches
            if factor_of(use, patch)
        ),
        default=0,
    )


def _bytes(patch: Patch, file: LoraFile, shape: Shape, item: int) -> int:
    kept = {
        part: file.source.shape(name)
        for part, name in patch.parts.items()
        if part not in ("alpha", "factor")
    }
    values = sum(
        prod(own) * (item if patch.is_matrix(part, shape) else 4) for part, own in kept.items()
    )
    pair = patch.is_pair and len(shape) == 2
    return values + (ROW * kept["down"][0] if pair else NUMBERS)
