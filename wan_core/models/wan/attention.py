"""The reference attention: rope, then scaled-dot-product attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wan_core.contract.attention import AttentionCall
from wan_core.models.wan.config import AT_ONCE
from wan_core.models.wan.rope import Table
from wan_core.models.wan.rows import may_write, pieces


def attend(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    """Rotate q and k as ``call`` says, then attend; the reference of every other attention.

    Args:
        q: normed, un-rotated queries ``[batch, queries, heads, head width]``.
        k: normed, un-rotated keys ``[batch, keys, heads, head width]``.
        v: values, shaped like ``k``.
        call: circumstances; used are rope and lengths.

    Returns:
        ``[batch, queries, heads, head width]``.
    """
    if call.rope_q is not None:
        q = rotate(q, call.rope_q)
    if call.rope_k is not None:
        k = rotate(k, call.rope_k)
    return attend_rotated(q, k, v, call)


def attend_rotated(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    """:func:`attend` on queries and keys that are rotated already."""
    mask = None
    if call.lengths is not None:
        mask = torch.arange(k.shape[1], device=k.device) < call.lengths[:, None, None, None]
    out = F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
    )
    return out.transpose(1, 2)


def rotate(x: Tensor, table: Table) -> Tensor:
    """Rotate adjacent pairs of ``x`` in float32.

    Args:
        x: ``[batch, tokens, heads, head width]``.
        table: ``(cos, sin)``, each ``[tokens, head width / 2]`` or ``[batch, tokens, …]``.

    Returns:
        Shape and dtype of ``x``.
    """
    tokens = x.shape[-3]
    if tokens <= AT_ONCE or not may_write():
        return _rotate(x, table).to(x.dtype)
    out = torch.empty_like(x)
    for rows, _ in pieces(tokens, AT_ONCE):
        cos, sin = (part[..., rows, :] for part in table)
        out[..., rows, :, :] = _rotate(x[..., rows, :, :], (cos, sin))
    return out


def _rotate(x: Tensor, table: Table) -> Tensor:
    cos, sin = (part.unsqueeze(-2) for part in table)
    pairs = x.float().reshape(*x.shape[:-1], -1, 2)
    if torch.compiler.is_compiling():
        # real numbers fuse into one kernel
        out = pairs * cos.unsqueeze(-1) + pairs.flip(-1) * torch.stack((-sin, sin), dim=-1)
    else:
        # complex numbers take a third of the passes over memory that the formula takes unfused
        out = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
    return out.flatten(-2)
