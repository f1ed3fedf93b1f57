"""Finding the weight whose numbers are none, once something has come out wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.weights.quantised.linear import QuantLinear

__all__ = ["spoilt_weight", "weights_of"]


def weights_of(component: Any) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of floating point: of a module, or of the modules that an object holds.

    Of quantised layers, what their codes are worth.
    """
    held = (
        [component]
        if isinstance(component, nn.Module)
        else getattr(component, "__dict__", {}).values()
    )
    for module in held:
        if isinstance(module, nn.Module):
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                if tensor.is_floating_point():
                    yield name, tensor
            for name, layer in module.named_modules():
                if isinstance(layer, QuantLinear):
                    yield f"{name}.weight", layer.dequantised()


def spoilt_weight(weights: Iterable[tuple[str, Tensor]]) -> str:
    """What the first weight that is spoilt holds: ``'the weight "a.b" holds NaN'``; "" where none is.

    Infinity in float16 counts for nothing: it may be an overflow of sound numbers.
    """
    for name, weight in weights:
        values = weight.detach().float()
        if bool(torch.isnan(values).any()):
            return f'the weight "{name}" holds NaN'
        if weight.dtype != torch.float16 and bool(torch.isinf(values).any()):
            return f'the weight "{name}" holds infinity'
    return ""
