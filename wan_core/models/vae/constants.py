"""Between what a network itself knows and latents as the transformer sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Numbers = Sequence[float] | None


def constants(mean: Numbers, std: Numbers, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and 1 / std, which is what upstream keeps, per channel and in float32 at least."""
    if mean is None or std is None:
        return None
    dtype = torch.promote_types(like.dtype, torch.float32)
    middle = torch.tensor(mean, dtype=dtype, device=like.device)
    scale = 1 / torch.tensor(std, dtype=dtype, device=like.device)
    return middle.view(-1, 1, 1, 1), scale.view(-1, 1, 1, 1)


def normalised(raw: Tensor, mean: Numbers, std: Numbers) -> Tensor:
    """Raw network means ``[batch, channels, …]`` to latents; as they are without constants."""
    known = constants(mean, std, raw)
    return raw if known is None else (raw - known[0]) * known[1]


def denormalised(latents: Tensor, mean: Numbers, std: Numbers) -> Tensor:
    """The inverse of ``normalised``."""
    known = constants(mean, std, latents)
    return latents if known is None else latents / known[1] + known[0]
