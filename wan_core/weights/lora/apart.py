"""LoRA factors kept apart from their weights, so that strengths can change while a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional

from wan_core.contract.loras import LoraUse
from wan_core.weights.lora.deltas import scale_of
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.lora.patches import Patch
from wan_core.weights.lora.uses import strength_of

__all__ = ["KeptApart", "LoraLinear", "keep_apart", "separable"]

Pair = tuple[Tensor, Tensor, float]
"""Down ``[rank, inputs]``, up ``[outputs, rank]``, and what their product is multiplied by."""


class LoraLinear(nn.Module):
    """A linear layer with low-rank factors beside it: ``y = base(x) + sum of s (x downᵀ) upᵀ``.

    The factors of several files lie in one matrix each, so that any number of files costs two products. They
    are buffers: whatever moves the layer moves them. Strengths are numbers in a tensor, so that a compiled
    model goes on when they change.

    Args:
        base: computes the layer without LoRA, from whatever its weights are stored in.
        pairs: by file.
        strengths: of the files.
    """

    strengths: Tensor
    scales: Tensor
    down: Tensor
    up: Tensor
    files: Tensor

    def __init__(self, base: nn.Module, pairs: Sequence[Pair], strengths: Sequence[float]) -> None:
        super().__init__()
        self.base = base
        device = pairs[0][0].device
        ranks = [down.shape[0] for down, _, _ in pairs]
        numbers = torch.arange(len(pairs)).repeat_interleave(torch.tensor(ranks))
        for name, tensor in (
            ("down", torch.cat([down for down, _, _ in pairs])),
            ("up", torch.cat([up for _, up, _ in pairs], dim=1)),
            ("scales", torch.tensor([scale for _, _, scale in pairs])),
            ("strengths", torch.tensor(list(strengths))),
            ("files", numbers),  # row of down -> file
        ):
            self.register_buffer(name, tensor.to(device))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., inputs]`` -> ``[..., outputs]``."""
        result: Tensor = self.base(x)
        scales = (self.strengths * self.scales)[self.files].to(x.dtype)
        return result + functional.linear(functional.linear(x, self.down) * scales, self.up)


@attrs.frozen
class KeptApart:
    """LoRA files that a module has beside its weights.

    Attributes:
        places: by file: the layers that it changes, and its number there.
    """

    places: tuple[tuple[tuple[LoraLinear, int], ...], ...]

    def set_strength(self, file: int, strength: float) -> None:
        """Change how strongly a file counts, everywhere, from the next call on."""
        for layer, number in self.places[file]:
            layer.strengths[number] = strength


def separable(patch: Patch) -> bool:
    """Whether a patch is nothing but a product that is added to a linear layer's weight.

    Others (DoRA, differences, LoKr, LoHa, convolutions) have to be merged.
    """
    beside = {"mid", "dora", "magnitude", "reshape"}
    return patch.form == "pair" and not beside & patch.parts.keys()


def keep_apart(module: nn.Module, files: Sequence[tuple[LoraFile, LoraUse]]) -> KeptApart:
    """Give the linear layers of a module the factors of LoRA files, beside their weights.

    Layers are wrapped in place. Only patches that are :func:`separable`, for layers of type ``nn.Linear``,
    are used; what else the files hold is to be merged before.

    Args:
        module: its names are the official ones.
        files: matched with it, and how they are used.
    """
    pairs: dict[str, list[tuple[int, Pair]]] = {}
    for number, (file, use) in enumerate(files):
        for patch in file.patches:
            name = patch.target.removesuffix(".weight")
            factor = strength_of(attrs.evolve(use, strength=1.0), patch)
            layer = module.get_submodule(name) if separable(patch) and factor else None
            if isinstance(layer, nn.Linear):
                pairs.setdefault(name, []).append((number, _read(patch, file, layer, factor)))
    places: list[list[tuple[LoraLinear, int]]] = [[] for _ in files]
    for name, own in pairs.items():
        strengths = [files[number][1].strength for number, _ in own]
        wrapped = LoraLinear(module.get_submodule(name), [pair for _, pair in own], strengths)
        module.set_submodule(name, wrapped)
        for place, (number, _) in enumerate(own):
            places[number].append((wrapped, place))
    return KeptApart(tuple(map(tuple, places)))


def _read(patch: Patch, file: LoraFile, layer: nn.Linear, factor: float) -> Pair:
    device, dtype = layer.weight.device, layer.weight.dtype
    parts = {part: file.source.get(name, device) for part, name in patch.parts.items()}
    scale = factor * scale_of(patch, parts, file.source)
    return parts["down"].flatten(1).to(dtype), parts["up"].flatten(1).to(dtype), scale
