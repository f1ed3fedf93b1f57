"""The three sub-steps of a Wan block, each usable alone."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract.attention import Attend, AttentionCall
from wan_core.kernels.norm_rotate import has_kernel, norm_rotate
from wan_core.models.wan.attention import attend, attend_rotated
from wan_core.models.wan.layers import RMSNorm
from wan_core.weights.quantised.linear import project


class SelfAttention(nn.Module):
    """Self-attention; q and k are normed over the full width, before they are split into heads.

    Attributes:
        attend: the attention callable; assign another one to replace it.
    """

    def __init__(self, dim: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads, self.eps = heads, eps
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps=eps)
        self.norm_k = RMSNorm(dim, eps=eps)
        self.attend: Attend = attend

    def forward(self, x: Tensor, call: AttentionCall) -> Tensor:
        """``[batch, tokens, dim]`` (normed and modulated) -> the same shape."""
        split = (self.heads, -1)
        q, k, v = project(x, self.q, self.k, self.v)
        if self._fuses(q, call):
            return self._fused(q, k, v, call)
        q = self.norm_q(q).unflatten(-1, split)
        k = self.norm_k(k).unflatten(-1, split)
        given = [v.view(*v.shape[:-1], *split), k, q]
        del q, k, v
        # nothing here holds them any more: an attention that rotates q and k need not keep what it got
        attended = self.attend(given.pop(), given.pop(), given.pop(), call)
        out: Tensor = self.o(attended.flatten(-2))
        return out

    def _fuses(self, q: Tensor, call: AttentionCall) -> bool:
        """Whether norm and rotation are one kernel: in compiled code, with the core's attention behind them."""
        return (
            _fused_allowed(q)
            and has_kernel(q)
            and self.attend is attend
            and type(self.norm_q) is type(self.norm_k) is RMSNorm  # no LoRA beside their weights
            and call.rope_q is not None
            and call.rope_k is not None
        )

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        assert call.rope_q is not None and call.rope_k is not None
        shape = (*q.shape[:-1], self.heads, -1)
        q = norm_rotate(q, self.norm_q.weight, *call.rope_q, self.eps)
        k = norm_rotate(k, self.norm_k.weight, *call.rope_k, self.eps)
        attended = attend_rotated(q.view(shape), k.view(shape), v.view(shape), call)
        out: Tensor = self.o(attended.flatten(-2))
        return out


@attrs.define(eq=False)
class Source:
    """What a cross-attention attends to in one call.

    Attributes:
        name: which of the module's sources it is.
        tokens: ``[batch, rows, width of the source]``.
        call: circumstances of its attention.
        weight: factor of its contribution, broadcastable to ``[batch, tokens, dim]``; None = 1.
    """

    name: str
    tokens: Tensor
    call: AttentionCall
    weight: Tensor | None = None


class CrossAttention(nn.Module):
    """Cross-attention to any number of sources, summed before the one output projection.

    The sources share q. Each has its own key and value projections and key norm: children of this
    module named ``k``, ``v`` and ``norm_k`` plus the source's suffix, which is ``""`` for text and
    ``"_img"`` for the image tokens of Wan 2.1. These are the official names.

    Attributes:
        suffixes: source -> suffix.
        attend: source -> attention callable; assign an entry to replace it.

    Args:
        source: name of the first source.
        width: its width; None = ``dim``.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        eps: float = 1e-6,
        *,
        source: str = "text",
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps=eps)
        self.suffixes: dict[str, str] = {}
        self.attend: dict[str, Attend] = {}
        self.add_source(source, "", width)

    def add_source(self, name: str, suffix: str, width: int | None = None) -> None:
        """Make the projections of a further source of ``width`` (None = that of the queries).

        Raises:
            ValueError: the name or the suffix is taken.
        """
        if name in self.suffixes or suffix in self.suffixes.values():
            raise ValueError(f"there is a source {name!r} or one with the suffix {suffix!r}")
        dim, eps = self.q.out_features, self.norm_q.eps
        self.add_module(f"k{suffix}", nn.Linear(width or dim, dim))
        self.add_module(f"v{suffix}", nn.Linear(width or dim, dim))
        self.add_module(f"norm_k{suffix}", RMSNorm(dim, eps=eps))
        self.suffixes[name] = suffix
        self.attend[name] = attend

    def keys_values(self, name: str, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Normed keys, and values, of a source: ``[batch, rows, heads, head width]`` each."""
        suffix = self.suffixes[name]
        k = getattr(self, f"norm_k{suffix}")(getattr(self, f"k{suffix}")(tokens))
        v = getattr(self, f"v{suffix}")(tokens)
        split = (self.heads, -1)
        return k.unflatten(-1, split), v.unflatten(-1, split)

    def forward(self, x: Tensor, sources: Sequence[Source]) -> Tensor:
        """``[batch, tokens, dim]`` (normed) -> the same shape."""
        q = self.norm_q(self.q(x)).unflatten(-1, (self.heads, -1))
        parts = []
        for source in sources:
            parts.append(self.from_source(q, source))
        del q  # neither it nor a part waits for the projection
        total = parts.pop(0)
        while parts:
            total = total + parts.pop(0)
        out: Tensor = self.o(total)
        return out

    def from_source(self, q: Tensor, source: Source) -> Tensor:
        """One source's contribution ``[batch, tokens, dim]``, before the output projection."""
        k, v = self.keys_values(source.name, source.tokens)
        out = self.attend[source.name](q, k, v, source.call).flatten(-2)
        return out if source.weight is None else (out * source.weight).to(out.dtype)


class FeedForward(nn.Sequential):
    """Linear, GELU (tanh form), Linear: ``[…, dim]`` -> ``[…, dim]``.

    In compiled code on a GPU the GELU is applied by the product before its result is rounded and written.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, gelu, last = self
        if _fused_allowed(x) and type(first) is nn.Linear and first.weight.dtype == x.dtype:
            rows, weight = x.flatten(0, -2), first.weight.t()
            hidden = torch._addmm_activation(first.bias, rows, weight, use_gelu=True)
            hidden = hidden.view(*x.shape[:-1], -1)
        else:
            hidden = gelu(first(x))
        out: Tensor = last(hidden)
        return out


def _fused_allowed(x: Tensor) -> bool:
    """Whether steps may be one kernel: in compiled code on a GPU, in 16 bits, without gradients."""
    return (
        torch.compiler.is_compiling()
        and x.is_cuda
        and x.dtype in (torch.bfloat16, torch.float16)
        and not torch.is_grad_enabled()
    )
