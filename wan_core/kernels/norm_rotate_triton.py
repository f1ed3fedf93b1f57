"""The kernel of :mod:`wan_core.kernels.norm_rotate`. Importing it needs Triton, but no GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 8


@triton.jit  # torch.compile runs this text elsewhere: it may name nothing but tl
def _kernel(
    x,
    weight,
    cos,
    sin,
    out,
    table_rows,
    eps,
    width: tl.constexpr,
    pairs: tl.constexpr,
    block: tl.constexpr,
):
    """One program a token: its whole row, all heads."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    values = tl.load(x + row * width + columns, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values) / width + eps)
    values = values * scale * tl.load(weight + columns, mask=inside, other=0.0).to(tl.float32)
    even, odd = tl.split(tl.reshape(values, (block // 2, 2)))
    place = (row % table_rows) * pairs + tl.arange(0, block // 2) % pairs
    c = tl.load(cos + place)
    s = tl.load(sin + place)
    rotated = tl.interleave(even * c - odd * s, even * s + odd * c)
    tl.store(out + row * width + columns, rotated.to(out.dtype.element_ty), mask=inside)


@torch.library.triton_op("wan_core::norm_rotate", mutates_args={})
def norm_rotate(x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """See :func:`wan_core.kernels.norm_rotate.norm_rotate`; all tensors are contiguous."""
    out = torch.empty_like(x)
    width, pairs = x.shape[-1], cos.shape[-1]
    torch.library.wrap_triton(_kernel)[(x.numel() // width,)](
        x,
        weight,
        cos,
        sin,
        out,
        cos.numel() // pairs,
        eps,
        width=width,
        pairs=pairs,
        block=triton.next_power_of_2(width),
        num_warps=WARPS,
    )
    return out
