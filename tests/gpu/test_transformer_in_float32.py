"""On a GPU: small transformers of every kind predict in float32 what they predict on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wan_core.models.wan import WanConfig, WanTransformer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
BOUND = 1e-5
SIZES: dict[str, Any] = {"dim": 96, "ffn_dim": 160, "num_heads": 2, "num_layers": 4, "text_dim": 32}
KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "image": {"in_dim": 36, "image_dim": 24},
    "vace": {"vace_layers": (0, 2), "vace_in_dim": 96},
}


@pytest.fixture(autouse=True)
def _exact_float32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("per", ["sample", "frame"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_gpu_agrees_with_the_cpu(kind: str, per: str) -> None:
    torch.manual_seed(0)
    config = WanConfig(**(SIZES | KINDS[kind]))
    transformer = WanTransformer(config).eval()
    for parameter in transformer.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    timesteps = torch.tensor([700.0, 31.5]) if per == "sample" else 500 * torch.rand(2, 3)
    arguments = (torch.randn(2, config.in_dim, 3, 8, 6), timesteps, torch.randn(2, 40, 32))
    extra: dict[str, Any] = {}
    if config.image_dim:
        extra["image_tokens"] = torch.randn(2, 17, config.image_dim)
    if config.vace_layers:
        extra["add_ons"] = {"vace": {"context": torch.randn(2, 96, 3, 8, 6)}}
    want = transformer(*arguments, **extra)
    got = transformer.cuda()(*(one.cuda() for one in arguments), **on_gpu(extra)).cpu()
    assert float((got - want).abs().max() / want.abs().max()) <= BOUND


def on_gpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cuda()
    return {name: on_gpu(part) for name, part in value.items()}
