"""Kernels agree with their references; compiled code that uses them is as near to float32 as eager code.

Skipped where there is no CUDA device.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

from wan_core.kernels.norm_rotate import has_kernel, norm_rotate, reference  # noqa: E402
from wan_core.models.wan import WanConfig, WanTransformer  # noqa: E402
from wan_core.models.wan.rope import padded, rope_tables  # noqa: E402


def error(got: Tensor, want: Tensor) -> float:
    return float((got.float() - want.float()).norm() / want.float().norm())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [128 * 3, 1536, 5120])
@pytest.mark.parametrize("batch", [1, 2])
def test_norm_and_rotation(dtype: torch.dtype, width: int, batch: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 210, width, device="cuda").to(dtype)
    weight = (torch.rand(width, device="cuda") + 0.5).to(dtype)
    table = rope_tables(128, (5, 6, 7), device="cuda")
    if batch > 1:
        table = padded([table, rope_tables(128, (2, 6, 7), device="cuda")], 210)
    assert has_kernel(x)
    got = norm_rotate(x, weight, *table, 1e-6)
    want = reference(x, weight, *table, 1e-6)
    # both are rounded once, from float32: they may differ where that is at the edge
    assert error(got, want) < 1e-4
    assert error(got, reference(x.float(), weight.float(), *table, 1e-6)) < 2e-3


def test_a_compiled_transformer_is_as_exact_as_an_eager_one() -> None:
    torch.manual_seed(0)
    config = WanConfig(dim=512, ffn_dim=1024, num_heads=4, num_layers=2, text_dim=64)
    model = WanTransformer(config).cuda().eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    half = copy.deepcopy(model)
    for block in half.blocks:
        block.bfloat16()
        block.modulation.data = block.modulation.data.float()
    half.text_embedding.bfloat16()
    inputs = (torch.randn(1, 16, 5, 32, 32).cuda(), torch.tensor([700.0]).cuda())
    text = torch.randn(1, 40, 64).cuda()
    with torch.no_grad():
        truth = model(*inputs, text)
        eager = half(*inputs, text.bfloat16())
        for block in half.blocks:
            block.compile()
        compiled = half(*inputs, text.bfloat16())
    assert error(compiled, truth) < 1.1 * error(eager, truth)
