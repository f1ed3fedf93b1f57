"""Root-mean-square norm and rotation of queries or keys.

The kernel reads each number once and writes it once, and has it in float32 in between; unfused, the numbers are
rounded between norm and rotation, and pass through memory three times as often.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

try:
    from wan_core.kernels import norm_rotate_triton as fused
except Exception:  # no Triton, or one that does not fit this machine: the reference serves
    fused = None  # type: ignore[assignment]

__all__ = ["has_kernel", "norm_rotate", "reference"]


def has_kernel(x: Tensor) -> bool:
    """Whether ``x`` is where the kernel runs, and in a precision that it is meant for."""
    return fused is not None and x.is_cuda and x.dtype in (torch.bfloat16, torch.float16)


def norm_rotate(x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """``rotate(rms_norm(x) * weight)`` by the kernel; see :func:`reference`.

    It is an operator that torch.compile takes as it is, without gradients.
    """
    out: Tensor = fused.norm_rotate(x.contiguous(), weight, cos.contiguous(), sin.contiguous(), eps)
    return out


def reference(x: Tensor, weight: Tensor, cos: Tensor, sin: Tensor, eps: float) -> Tensor:
    """The same in plain torch, in float32 throughout and rounded once.

    Args:
        x: ``[batch, tokens, dim]``.
        weight: ``[dim]``.
        cos, sin: ``[tokens, pairs]`` or ``[batch, tokens, pairs]`` float32, where a head has ``2 * pairs``
            numbers; adjacent ones are a pair.
        eps: added to the mean square.

    Returns:
        Shape and dtype of ``x``.
    """
    normed = F.rms_norm(x.float(), x.shape[-1:], weight.float(), eps)
    pairs = normed.view(*x.shape[:-1], -1, cos.shape[-1], 2)
    even, odd = pairs.unbind(-1)
    c, s = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.stack((even * c - odd * s, even * s + odd * c), -1).flatten(-3).to(x.dtype)
