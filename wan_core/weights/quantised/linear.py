"""The linear layer whose weight stays quantised in memory."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_core.weights.quantised.packed import Packed
from wan_core.weights.quantised.products import (
    Rounded,
    can_multiply,
    fp8_linear,
    rounded_inputs,
    suits_fp8,
)

__all__ = ["QuantLinear", "multiply_in_fp8", "project"]


class QuantLinear(nn.Module):
    """A linear layer that unpacks its weight for each call: the reference of every faster way.

    The result is that of ``nn.Linear`` with the weight that the codes and scales are worth, in the precision of
    its input. Codes and scales are buffers of whole numbers and float32, in which moving the module to another
    device changes nothing.

    Attributes:
        in_features, out_features: as of ``nn.Linear``.
        scheme: how the weight is stored, such as ``"fp8_e4m3fn"`` or ``"Q4_K"``.
        dtype: of inputs that it is meant for.
        in_fp8: bfloat16 inputs on a GPU are multiplied in 8 bits: faster, and not exact. See
            :mod:`~wan_core.weights.quantised.products`.

    Args:
        packed: the weight, ``[out_features, in_features]``.
        bias: ``[out_features]`` or None.
        dtype: None = float32.
    """

    payload: Tensor
    scale: Tensor | None
    block_scales: Tensor | None

    def __init__(
        self, packed: Packed, bias: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = packed.shape
        self.scheme = packed.scheme
        self.dtype = dtype or torch.float32
        self.in_fp8 = False
        self.register_buffer("payload", packed.payload)
        self.register_buffer("scale", packed.scale)
        self.register_buffer("block_scales", packed.block_scales)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    def packed(self) -> Packed:
        """The weight as it is stored."""
        shape = (self.out_features, self.in_features)
        return Packed(self.scheme, shape, self.payload, self.scale, self.block_scales)

    @property
    def weight(self) -> Tensor:
        """A tensor without data that tells shape and dtype, for code that only asks for these."""
        shape = (self.out_features, self.in_features)
        return torch.empty(shape, dtype=self.dtype, device="meta")

    def dequantised(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight ``[out_features, in_features]``, computed in float32 and rounded to ``dtype`` once."""
        return self.packed.dense(dtype)

    def rounds(self, x: Tensor) -> bool:
        """Whether such an input is multiplied in 8 bits."""
        return self.in_fp8 and x.is_cuda and x.dtype == torch.bfloat16 and x.numel() > 0

    def forward(self, x: Tensor, rounded: Rounded | None = None) -> Tensor:
        """``[…, in_features]`` -> ``[…, out_features]`` in the dtype of ``x``.

        Args:
            rounded: of an input that :meth:`rounds`, what is multiplied; see :func:`project`.
        """
        bias = None if self.bias is None else self.bias.to(x.dtype)
        if self.rounds(x):
            return fp8_linear(x, self.packed, bias, rounded)
        return F.linear(x, self.dequantised(x.dtype), bias)

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, {self.scheme}, bias={self.bias is not None}"
        )


def project(x: Tensor, *layers: nn.Module) -> tuple[Tensor, ...]:
    """What several linear layers make of one input.

    Where all of them multiply in 8 bits, the input is rounded once, which no compiler does by itself.
    """
    if all(isinstance(layer, QuantLinear) and layer.rounds(x) for layer in layers):
        rounded = rounded_inputs(x)
        return tuple(layer(x, rounded) for layer in layers)
    return tuple(layer(x) for layer in layers)


def multiply_in_fp8(module: nn.Module, weights: Collection[str], device: torch.device) -> int:
    """Let quantised layers multiply in 8 bits where both weight and device can.

    All others go on unpacking their weights, as do all where inputs are not bfloat16.

    Args:
        weights: names of the weights that it is for.

    Returns:
        How many layers it is.
    """
    count = 0
    for name, layer in module.named_modules():
        if isinstance(layer, QuantLinear) and f"{name}.weight" in weights:
            layer.in_fp8 = suits_fp8(layer.packed) and can_multiply(device)
            count += layer.in_fp8
    return count
