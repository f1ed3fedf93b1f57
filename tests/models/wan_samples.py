"""Small Wan transformers and inputs for the tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wan_core.models.wan import WanConfig, WanTransformer

SMALL: dict[str, Any] = {
    "dim": 48,
    "ffn_dim": 64,
    "num_heads": 4,
    "num_layers": 3,
    "freq_dim": 32,
    "text_dim": 16,
    "text_len": 20,
}


def random_transformer(seed: int = 0, **sizes: Any) -> WanTransformer:
    """A small transformer, no parameter of which is zero."""
    transformer = WanTransformer(WanConfig(**(SMALL | sizes)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
            around = (
                1.0 if ("norm" in name or "proj.0" in name) and name.endswith("weight") else 0.0
            )
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(around * (parameter.ndim == 1) + noise * fan_in**-0.5)
    return transformer.eval()


def latents(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def scale_of_error(got: Tensor, want: Tensor) -> float:
    """Largest difference in units of the largest wanted value."""
    return float((got - want).abs().max() / want.abs().max())
