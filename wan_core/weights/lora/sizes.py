"""Sizes of LoRA files that are kept apart, in closed form from their headers. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod

from wan_core.contract.loras import LoraUse
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.lora.patches import Patch
from wan_core.weights.lora.uses import factor_of, unit_of
from wan_core.weights.stacks import Stored

__all__ = ["apart_bytes", "apart_sizes", "work_sizes"]

Shape = tuple[int, ...]
ROW = 3
"""Beside each row of a pair, as numbers in float32: that of its file, which takes two, and its factor."""
NUMBERS = 2
"""Beside any other patch: its scale and its factor."""


def apart_sizes(
    file: LoraFile,
    use: LoraUse,
    shapes: Mapping[str, Shape],
    owner: Callable[[str], str] = unit_of,
) -> dict[str, Stored]:
    """What a file adds to each unit; ``""`` stands for what belongs to no unit.

    A pair of rank r beside a weight ``[outputs, inputs]`` adds ``r * (inputs + outputs)`` values.

    Args:
        shapes: of the model's tensors.
        owner: tells the unit that a tensor of the model belongs to.
    """
    values: Counter[str] = Counter()
    exact: Counter[str] = Counter()
    for patch in file.patches:
        if factor_of(use, patch):
            unit = owner(patch.target)
            one = _stored(patch, file, shapes[patch.target])
            values[unit] += one.values
            exact[unit] += one.exact
    return {unit: Stored(values[unit], exact[unit]) for unit in values}


def apart_bytes(
    file: LoraFile, use: LoraUse, shapes: Mapping[str, Shape], item: int
) -> dict[str, int]:
    """The same in bytes; ``item`` is bytes of a value of the model's weights."""
    found = apart_sizes(file, use, shapes)
    return {unit: sum(one.sizes(item)) for unit, one in found.items()}


def work_sizes(file: LoraFile, use: LoraUse, shapes: Mapping[str, Shape]) -> tuple[Stored, Stored]:
    """What the largest changed weights take while they are computed with, beside weights and factors.

    Returns:
        Of those with pairs, the changed weight; of those with other forms the weight, its change and their sum
        in float32, too.
    """
    pairs, others = 0, 0
    for patch in file.patches:
        count = prod(shapes[patch.target])
        if factor_of(use, patch) and patch.is_pair:
            pairs = max(pairs, count)
        elif factor_of(use, patch):
            others = max(others, count)
    return Stored(pairs), Stored(others, 4 * others)


def _stored(patch: Patch, file: LoraFile, shape: Shape) -> Stored:
    kept = {
        part: file.source.shape(name)
        for part, name in patch.parts.items()
        if part not in ("alpha", "factor")
    }
    matrices = [prod(own) for part, own in kept.items() if patch.is_matrix(part, shape)]
    pair = patch.is_pair and len(shape) == 2
    beside = ROW * kept["down"][0] if pair else NUMBERS
    return Stored(sum(matrices), sum(map(prod, kept.values())) - sum(matrices) + beside)
