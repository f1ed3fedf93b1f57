"""The reference of the kernel that norms and rotates: what the transformer's own steps give."""

from __future__ import annotations

import pytest
import torch

from wan_core.kernels.norm_rotate import has_kernel, reference
from wan_core.models.wan.attention import rotate
from wan_core.models.wan.layers import RMSNorm
from wan_core.models.wan.rope import padded, rope_tables


@pytest.mark.parametrize("batched", [False, True])
def test_the_reference_is_norm_then_rotation(batched: bool) -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(2, 24, 48), RMSNorm(48, eps=1e-6)
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    table = rope_tables(16, (2, 3, 4))
    if batched:  # the second sample has half of the tokens
        table = padded([table, rope_tables(16, (1, 3, 4))], 24)
    with torch.no_grad():
        want = rotate(norm(x).view(2, 24, 3, 16), table).flatten(-2)
        got = reference(x, norm.weight, *table, 1e-6)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_the_kernel_is_not_for_a_cpu() -> None:
    assert not has_kernel(torch.zeros(1, 2, 4, dtype=torch.bfloat16))
