"""Merging: LoRA files become part of the weights as these are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from wan_core.weights.lora.deltas import patched
from wan_core.weights.lora.patches import Patch
from wan_core.weights.sources import RenamedSource, TensorInfo, TensorSource

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
        inputs: official name -> how many inputs a weight ``[outputs, inputs, …]`` gets that is widened: with
            zeros behind its own, before it is changed.
    """

    def __init__(
        self,
        base: TensorSource,
        changes: Mapping[str, Sequence[Change]],
        inputs: Mapping[str, int] | None = None,
    ) -> None:
        unknown = base.unknown if isinstance(base, RenamedSource) else ()
        super().__init__(base, {name: name for name in base.names()}, unknown)
        self.changes = changes
        self.inputs = inputs or {}
        wider = {name: _widened(self.tensors[name], n) for name, n in self.inputs.items()}
        self.tensors = {**self.tensors, **wider}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        weight = super().get(name, device, None if self.is_made(name) else dtype)
        if not self.is_made(name):
            return weight
        inputs = self.inputs.get(name, 0)
        made = _merged(weight, self.changes.get(name, ()), inputs)
        return made.to(dtype or weight.dtype)

    def is_made(self, name: str) -> bool:
        return name in self.changes or name in self.inputs


def _widened(info: TensorInfo, inputs: int) -> TensorInfo:
    rows, own, *cells = info.shape
    return TensorInfo(info.dtype, (rows, inputs, *cells), info.nbytes // own * inputs)


def _merged(weight: Tensor, changes: Iterable[Change], inputs: int = 0) -> Tensor:
    exact = weight if weight.dtype == torch.float64 else weight.float()
    if inputs:
        more = exact.new_zeros(len(exact), inputs - exact.shape[1], *exact.shape[2:])
        exact = torch.cat([exact, more], dim=1)
    for patch, source, strength in changes:
        if strength and 0 < patch.inputs < inputs:  # made for the weight as it was
            own, more = exact[:, : patch.inputs], exact[:, patch.inputs :]
            exact = torch.cat([patched(own, patch, source, strength), more], dim=1)
        elif strength:
            exact = patched(exact, patch, source, strength)
    return exact
