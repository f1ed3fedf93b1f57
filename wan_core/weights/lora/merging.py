"""Merging: LoRA files become part of the weights as these are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from wan_core.weights.lora.deltas import patched
from wan_core.weights.lora.patches import Patch
from wan_core.weights.sources import RenamedSource, TensorSource

__all__ = ["Change", "MergedSource", "merge"]

Change = tuple[Patch, TensorSource, float]
"""A patch, the file that it is from, and how strongly it counts."""


def merge(
    weight: Tensor, patches: Iterable[Patch], source: TensorSource, strength: float = 1.0
) -> Tensor:
    """A weight with the patches of a LoRA file, all of them for this weight.

    Args:
        weight: in any floating-point type; not changed.
        source: the file.

    Returns:
        In the type of ``weight``: the arithmetic is in float32 (of float64 in float64), rounded once.

    Raises:
        WeightsError: a number in the file makes no sense.
    """
    return _merged(weight, [(patch, source, strength) for patch in patches]).to(weight.dtype)


class MergedSource(RenamedSource):
    """A checkpoint under official names whose tensors have their LoRA patches when they are read.

    One weight at a time is worked on, on the device that it is read for, so that merging takes no more
    memory than loading does. Tensors without patches are read as they are.

    Args:
        base: the checkpoint.
        changes: official name -> its patches, in the order in which they are applied.
    """

    def __init__(self, base: TensorSource, changes: Mapping[str, Sequence[Change]]) -> None:
        unknown = base.unknown if isinstance(base, RenamedSource) else ()
        super().__init__(base, {name: name for name in base.names()}, unknown)
        self.changes = changes

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        weight = super().get(name, device, None if name in self.changes else dtype)
        if name not in self.changes:
            return weight
        return _merged(weight, self.changes[name]).to(dtype or weight.dtype)

    def is_made(self, name: str) -> bool:
        return name in self.changes


def _merged(weight: Tensor, changes: Iterable[Change]) -> Tensor:
    exact = weight if weight.dtype == torch.float64 else weight.float()
    for patch, source, strength in changes:
        if strength:
            exact = patched(exact, patch, source, strength)
    return exact
