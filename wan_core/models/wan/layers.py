"""Norms and sums of the Wan transformer. What must be float32 is so whatever the weights are."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_core.models.wan.config import AT_ONCE
from wan_core.models.wan.rows import may_write, pieces


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A region in which float32 stays float32."""
    if device.type == "meta":  # has no autocast
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class Float32Linear(nn.Linear):
    """A linear layer computed in float32, also when its weights are kept in less."""

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device):
            return F.linear(x.float(), self.weight.float(), self.bias.float())


class Float32LayerNorm(nn.LayerNorm):
    """A layer norm computed in float32; returns float32."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.float(), self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps)


class RMSNorm(nn.RMSNorm):
    """Root-mean-square norm over the last axis, computed in float32; keeps the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, tokens, dim]``."""
        weight = self.weight.to(x.dtype)  # torch's fused kernel wants equal dtypes
        # on a GPU it is one kernel, elsewhere several with float32 tensors in between
        if x.is_cuda or x.shape[1] <= AT_ONCE or not may_write():
            return self._normed(x, weight)
        out = torch.empty_like(x)
        for rows, _ in pieces(x.shape[1], AT_ONCE):
            out[:, rows] = self._normed(x[:, rows], weight)
        return out

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, weight, self.eps).to(x.dtype)


def normed_as(norm: nn.Module, x: Tensor, dtype: torch.dtype) -> Tensor:
    """``norm(x)``, which comes in float32, as ``dtype``; not all of it is there in float32.

    Args:
        x: ``[batch, tokens, dim]``.
    """
    if dtype == torch.float32 or x.shape[1] <= AT_ONCE or not may_write():
        out: Tensor = norm(x).to(dtype)
        return out
    out = torch.empty_like(x, dtype=dtype)
    for rows, _ in pieces(x.shape[1], AT_ONCE):
        out[:, rows] = norm(x[:, rows])
    return out


def modulated_norm(
    x: Tensor, shift: Tensor, scale: Tensor, eps: float, dtype: torch.dtype
) -> Tensor:
    """``LayerNorm(x) * (1 + scale) + shift``, computed in float32, returned as ``dtype``.

    Args:
        x: ``[batch, tokens, dim]``.
        shift, scale: ``[batch, groups, dim]`` float32. A group serves ``tokens / groups`` tokens in
            succession: one group for a timestep per sample, one a frame, or one a token.
    """
    tokens, groups = x.shape[1], shift.shape[1]
    alone = groups * len(x) == 1 and x.dtype == dtype == torch.float32  # nothing beside the result
    if tokens <= AT_ONCE or alone or not may_write():
        return _modulated_norm(x, shift, scale, eps).to(dtype)
    out = torch.empty_like(x, dtype=dtype)
    for rows, part in pieces(tokens, AT_ONCE, groups):
        out[:, rows] = _modulated_norm(x[:, rows], shift[:, part], scale[:, part], eps)
    return out


def _modulated_norm(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    batch, groups, dim = shift.shape
    x = x.float()
    if batch * groups == 1:  # the norm's own affine: one pass less over the tokens
        return F.layer_norm(x, (dim,), (1 + scale).flatten(), shift.flatten(), eps)
    normed = _by_group(F.layer_norm(x, (dim,), None, None, eps), groups)
    return torch.addcmul(shift.unsqueeze(2), normed, (1 + scale).unsqueeze(2)).flatten(1, 2)


def gated_add(x: Tensor, y: Tensor, gate: Tensor, out: Tensor | None = None) -> Tensor:
    """``x + y * gate`` in float32, returned in the dtype of ``x``; ``gate`` as ``scale`` above.

    Args:
        out: where the result is written, shaped like ``x``, which it may be; None = into a new tensor.
    """
    groups = gate.shape[1]
    if out is not None:
        into = out.view(out.shape[0], groups, -1, out.shape[-1])
        torch.addcmul(_by_group(x, groups), _by_group(y, groups), gate.unsqueeze(2), out=into)
        return out
    made = torch.addcmul(_by_group(x, groups), _by_group(y, groups), gate.unsqueeze(2))
    return made.flatten(1, 2).to(x.dtype)


def _by_group(x: Tensor, groups: int) -> Tensor:
    return x.reshape(x.shape[0], groups, -1, x.shape[-1])
