"""What a module holds of LoRA files beside its own tensors, and how it computes with both.

A module that takes part gets another class, made from its own, and a child ``lora``. Its own names stay:
beside ``q.weight`` there is ``q.lora.down``. What moves the module, or swaps its unit, moves the child, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_core.weights.lora.deltas import applied
from wan_core.weights.lora.patches import Form
from wan_core.weights.lora.routes import through_the_weight
from wan_core.weights.quantised.linear import QuantLinear

__all__ = ["Beside", "Change", "LoraLinear", "Pair", "adapted"]


class Pair:
    """The two factors of a plain low-rank change.

    Args:
        number: of the file.
        down, up: ``[rank, inputs]`` and ``[outputs, rank]``.
        factor: what their product is multiplied by, strength aside.
    """

    def __init__(self, number: int, down: Tensor, up: Tensor, factor: float) -> None:
        self.number = number
        self.down = down
        self.up = up
        self.factor = factor


class Change(nn.Module):
    """A patch of any form, computed anew in each call.

    Args:
        number: of the file.
        form: of the patch.
        parts: its tensors.
        scale: of the product of its factors.
        factor: what the file's strength is multiplied by.
    """

    numbers: Tensor

    def __init__(
        self, number: int, form: Form, parts: Mapping[str, Tensor], scale: float, factor: float
    ) -> None:
        super().__init__()
        self.number = number
        self.form = form
        self.names = tuple(parts)
        for name, tensor in parts.items():
            self.register_buffer(name, tensor)
        device = next(iter(parts.values())).device
        # tensors, so that blocks that differ in them share compiled code
        self.register_buffer("numbers", torch.tensor([scale, factor], device=device))

    def forward(self, weight: Tensor, strengths: Tensor) -> Tensor:
        """A float32 tensor after the patch."""
        parts = {name: getattr(self, name).to(weight.dtype) for name in self.names}
        scale, factor = self.numbers.float().unbind()
        return applied(weight, self.form, parts, scale, strengths[self.number] * factor)


class Beside(nn.Module):
    """What a module holds beside its own tensors.

    The factors of plain low-rank changes of several files lie in one matrix each, so that any number of files
    costs two products.

    Attributes:
        strengths: float32, one for each file; all modules share it, and it is none of their buffers, so that a
            change of a strength reaches units whose weights are on their way.
        rank: of all plain pairs together; 0 = there are none.
        changes: name of a tensor of the module -> what changes it, in order.

    Args:
        pairs: of a linear layer's weight.
        changes: as above.
        strengths: as above.
    """

    down: Tensor
    up: Tensor
    files: Tensor
    factors: Tensor

    def __init__(
        self, pairs: Sequence[Pair], changes: Mapping[str, Sequence[Change]], strengths: Tensor
    ) -> None:
        super().__init__()
        self.strengths = strengths
        self.rank = sum(len(pair.down) for pair in pairs)
        self.changes = nn.ModuleDict({leaf: nn.ModuleList(own) for leaf, own in changes.items()})
        if not pairs:
            return
        ranks = torch.tensor([len(pair.down) for pair in pairs])
        numbers = torch.tensor([pair.number for pair in pairs])
        factors = torch.tensor([pair.factor for pair in pairs], dtype=torch.float32)
        device = pairs[0].down.device
        self.register_buffer("down", torch.cat([pair.down for pair in pairs]))
        self.register_buffer("up", torch.cat([pair.up for pair in pairs], dim=1))
        # row of down -> its file, and its factor
        self.register_buffer("files", numbers.repeat_interleave(ranks).to(device))
        self.register_buffer("factors", factors.repeat_interleave(ranks).to(device))

    def changed(self, leaf: str, own: Tensor) -> Tensor:
        """A tensor of the module as the files make it: computed in float32."""
        strengths, weight = self._strengths(own), own.float()
        own_changes = self.changes[leaf]
        assert isinstance(own_changes, nn.ModuleList)
        for change in own_changes:
            weight = change(weight, strengths)
        return weight

    def added(self, weight: Tensor) -> Tensor:
        """A weight ``[outputs, inputs]`` with all pairs; one rounding, to its type."""
        up = (self.up.float() * self._rows(weight)).to(weight.dtype)
        return torch.addmm(weight, up, self.down.to(weight.dtype))

    def through(self, x: Tensor, result: Tensor) -> Tensor:
        """``result`` with what the pairs make of x: ``[…, inputs]``."""
        narrow = (F.linear(x, self.down.to(x.dtype)) * self._rows(x)).to(result.dtype)
        flat = result.reshape(-1, result.shape[-1])
        up = self.up.to(result.dtype).t()
        return torch.addmm(flat, narrow.reshape(-1, self.rank), up).view(result.shape)

    def _rows(self, like: Tensor) -> Tensor:
        return self._strengths(like)[self.files] * self.factors.float()

    def _strengths(self, like: Tensor) -> Tensor:
        return self.strengths.to(like.device)


class LoraLinear(nn.Module):
    """Mixed into a linear layer's class: ``y = x (W + sum of s scale up down)ᵀ + b``.

    W is what the weight is worth, also where it is quantised. Plain pairs take one of two ways, see
    :func:`wan_core.weights.lora.routes.through_the_weight`. With patches of other forms the whole weight is
    made in float32 for each call, in their order, as merging does it.
    """

    lora: Beside

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        """``[…, inputs]`` -> ``[…, outputs]``.

        Args:
            more: what else the layer takes, for its own way of multiplying.
        """
        lora = self.lora
        if "weight" in lora.changes:
            weight = lora.changed("weight", self._worth(torch.float32)).to(x.dtype)
            return F.linear(x, weight, self._bias(x.dtype))
        inputs, outputs = lora.down.shape[1], lora.up.shape[0]
        tokens = x.numel() // inputs
        # a layer that rounds its input multiplies codes: it has no weight to add to
        rounds = getattr(self, "rounds", None)
        unpacks = rounds is None or not rounds(x)
        if unpacks and through_the_weight(tokens, lora.rank, inputs, outputs):
            return F.linear(x, lora.added(self._worth(x.dtype)), self._bias(x.dtype))
        result: Tensor = super().forward(x, *more)
        return lora.through(x, result)

    def _worth(self, dtype: torch.dtype) -> Tensor:
        if isinstance(self, QuantLinear):
            return self.dequantised(dtype)
        weight: Tensor = self.weight  # type: ignore[assignment]
        return weight.to(dtype)

    def _bias(self, dtype: torch.dtype) -> Tensor | None:
        bias: Tensor | None = self.bias  # type: ignore[assignment]
        return None if bias is None else bias.to(dtype)


@cache
def adapted(kind: type[nn.Module], leaves: frozenset[str], routed: bool) -> type[nn.Module]:
    """A class of modules that compute with what stands beside their tensors.

    One class serves all modules of a kind, so that compiled blocks go on sharing one graph.

    Args:
        kind: what they are without.
        leaves: names of tensors that come changed wherever the module's code reads them.
        routed: it is a linear layer whose weight takes part in :class:`LoraLinear`'s way.
    """
    bases = (LoraLinear, kind) if routed else (kind,)
    reading = {leaf: property(_read(leaf)) for leaf in leaves}
    return type(f"Lora{kind.__name__}", bases, {**reading, "__module__": kind.__module__})


def _read(leaf: str) -> Callable[[nn.Module], Tensor | None]:
    def read(self: nn.Module) -> Tensor | None:
        own = self._parameters.get(leaf)
        lora: Beside = self.lora  # type: ignore[assignment]
        return own if own is None else lora.changed(leaf, own).to(own.dtype)

    return read
