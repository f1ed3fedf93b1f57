"""Tiny preview VAEs of random weights."""

from __future__ import annotations

import torch

from wan_core.models.vae import Taehv, TaehvConfig


def tiny(config: TaehvConfig) -> Taehv:
    """Random weights that give pictures between black and white."""
    network = Taehv(config).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        fan = max(1, parameter[0].numel())
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    last = network.decoder[-1]
    assert isinstance(last, torch.nn.Conv2d) and last.bias is not None
    last.weight.mul_(0.05)
    last.bias.fill_(0.5)
    return network
