"""The three sub-steps of a Wan block, each usable alone."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from torch import Tensor, nn

from wan_core.contract.attention import Attend, AttentionCall
from wan_core.models.wan.attention import attend
from wan_core.models.wan.layers import RMSNorm
from wan_core.weights.quantised.linear import project


class SelfAttention(nn.Module):
    """Self-attention; q and k are normed over the full width, before they are split into heads.

    Attributes:
        attend: the attention callable; assign another one to replace it.
    """

    def __init__(self, dim: int, heads: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.heads = heads
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
        q = self.norm_q(q).unflatten(-1, split)
        k = self.norm_k(k).unflatten(-1, split)
        v = v.view(*v.shape[:-1], *split)
        out: Tensor = self.o(self.attend(q, k, v, call).flatten(-2))
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
        parts = [self.from_source(q, source) for source in sources]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        out: Tensor = self.o(total)
        return out

    def from_source(self, q: Tensor, source: Source) -> Tensor:
        """One source's contribution ``[batch, tokens, dim]``, before the output projection."""
        k, v = self.keys_values(source.name, source.tokens)
        out = self.attend[source.name](q, k, v, source.call).flatten(-2)
        return out if source.weight is None else (out * source.weight).to(out.dtype)


class FeedForward(nn.Sequential):
    """Linear, GELU (tanh form), Linear: ``[…, dim]`` -> ``[…, dim]``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(
            nn.Linear(dim, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, dim)
        )
