"""The kernel of :func:`wan_core.kernels.quantise_rows`: a row is read once and stays in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from wan_core.kernels.rows import LARGEST, SMALLEST


def quantise_rows_in_one_pass(x: Tensor) -> tuple[Tensor, Tensor]:
    """The same numbers as :func:`~wan_core.kernels.rows.quantise_rows_reference`, on an NVIDIA GPU.

    Args:
        x: ``[rows, columns]``, whose columns lie side by side.
    """
    rows, columns = x.shape
    codes = torch.empty(rows, columns, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(rows, 1, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(columns)
    warps = min(max(block // 1024, 1), 16)
    with torch.cuda.device(x.device):
        _quantise_row[(rows,)](
            x,
            codes,
            scales,
            x.stride(0),
            columns,
            1 / LARGEST,
            SMALLEST,
            block=block,
            num_warps=warps,
        )
    return codes, scales


@triton.jit
def _quantise_row(x, codes, scales, stride, columns, share, smallest, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, block)
    inside = at < columns
    values = tl.load(x + row * stride + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(values), axis=0), smallest) * share
    # a plain quotient is not rounded to the nearest
    inverse = tl.math.div_rn(tl.full([], 1.0, tl.float32), scale)
    tl.store(codes + row * columns + at, (values * inverse).to(codes.dtype.element_ty), mask=inside)
    tl.store(scales + row, scale)
