"""Rows to 8-bit floats, each with a scale of its own: the inputs of products in 8 bits.

Of a row with the largest magnitude ``a`` the codes are ``x / s`` with ``s = a / 448``, rounded to the nearest
e4m3: its largest value becomes the largest code. Plain torch reads a row three times and keeps float32 copies
of it; the kernel reads it once. A compiler fuses the plain form with what comes before it, which is better
still, so that compiled code takes that one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wan_core.kernels.failures import failed, reason
from wan_core.kernels.shortage import is_shortage

__all__ = ["LARGEST", "SMALLEST", "WIDEST", "quantise_rows", "quantise_rows_reference"]

LARGEST = 448.0
"""The largest number in e4m3."""
SMALLEST = 1e-12
"""What a row's largest magnitude is taken for where it is less: nothing divides by zero."""
WIDEST = 32768
"""Columns that the kernel holds in registers."""

_Launch = Callable[[Tensor], tuple[Tensor, Tensor]]
_broken = ""
"""Why the kernel is not used in this process."""


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`quantise_rows_reference`; on a GPU one kernel, outside of compiled code.

    A kernel that can't be built here (no triton, no C compiler) costs time, and is told
    (:mod:`~wan_core.kernels.failures`).
    """
    if not torch.compiler.is_compiling() and _suits(x):
        if launch := _kernel():
            try:
                return launch(x)
            except Exception as error:
                if is_shortage(error):
                    raise
                _give_up(error)
        _tell()
    return quantise_rows_reference(x)


def quantise_rows_reference(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to codes in e4m3 and scales.

    Args:
        x: ``[rows, columns]``, floating-point; left as it is.

    Returns:
        Codes ``[rows, columns]`` float8_e4m3fn and scales ``[rows, 1]`` float32: ``x`` is about
        ``codes * scales``.
    """
    exact = x.float()
    # products with constants, not quotients: of those torch rounds some differently on a GPU
    scales = exact.abs().amax(1, keepdim=True).clamp(min=SMALLEST) * (1 / LARGEST)
    return (exact * scales.reciprocal()).to(torch.float8_e4m3fn), scales


def _suits(x: Tensor) -> bool:
    return x.is_cuda and x.numel() > 0 and x.stride(1) == 1 and x.shape[1] <= WIDEST


def _kernel() -> _Launch | None:
    if _broken:
        return None
    try:
        from wan_core.kernels.rows_triton import quantise_rows_in_one_pass
    except Exception as error:  # no triton, or one that does not fit this machine
        _give_up(error)
        return None
    return quantise_rows_in_one_pass


def _give_up(error: Exception) -> None:
    global _broken
    _broken = reason(error)


def _tell() -> None:
    failed(
        "the kernel that quantises inputs",
        "inputs are quantised without a kernel of their own, which is slower",
        _broken,
    )
