"""The Wan block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Literal, get_args

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract.attention import AttentionCall
from wan_core.contract.conditioning import NOTHING
from wan_core.models.wan.config import WanConfig
from wan_core.models.wan.layers import Float32LayerNorm, gated_add, modulated_norm, normed_as
from wan_core.models.wan.rows import may_write, pieces
from wan_core.models.wan.sub_steps import CrossAttention, FeedForward, SelfAttention, Source
from wan_core.weights.quantised.linear import QuantLinear, unpacked_once

Slot = Literal["before_block", "after_self_attention", "after_cross_attention", "after_block"]
SLOTS: tuple[Slot, ...] = get_args(Slot)


@attrs.define(eq=False)
class BlockCall:
    """What a block gets besides the stream; made outside it, so that blocks share compiled code.

    Attributes:
        modulation: projected time embedding ``[batch, groups, 6, dim]`` float32; for groups see
            :func:`~wan_core.models.wan.layers.modulated_norm`.
        attention: circumstances of the self-attention.
        sources: what the cross-attention attends to.
        dtype: what the projections get.
        add_ons: add-on -> input -> tensor.
        rows: tokens that the feed-forward handles at a time; None = all.
    """

    modulation: Tensor
    attention: AttentionCall
    sources: tuple[Source, ...]
    dtype: torch.dtype
    add_ons: Mapping[str, Mapping[str, Tensor]] = NOTHING
    rows: int | None = None


class WanBlock(nn.Module):
    """Self-attention, cross-attention and feed-forward around a residual stream x.

    With m = modulation + projected time embedding (shift, scale, gate of the attention, then of the
    feed-forward), and LN a layer norm without parameters::

        x = x + SelfAttention(LN(x) * (1 + m1) + m0) * m2
        x = x + CrossAttention(LN3(x), sources)
        x = x + FeedForward(LN(x) * (1 + m4) + m3) * m5

    The three lines are public methods. Around them are slots for *add-ons*: modules that belong to
    the block and move with it, called ``x = add_on(x, inputs, call)`` if the call has their inputs.

    The stream keeps the dtype it comes in (norms and sums are float32 in any case).
    """

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.modulation = nn.Parameter(torch.zeros(1, 6, config.dim))
        self.self_attn = SelfAttention(config.dim, config.num_heads, config.eps)
        self.norm3 = Float32LayerNorm(config.dim, eps=config.eps)
        self.cross_attn = CrossAttention(config.dim, config.num_heads, config.eps)
        if config.image_dim is not None:
            self.cross_attn.add_source("image", "_img")
        self.ffn = FeedForward(config.dim, config.ffn_dim)
        self.add_ons = nn.ModuleDict()
        self.slots: dict[Slot, tuple[str, ...]] = dict.fromkeys(SLOTS, ())

    def forward(self, x: Tensor, call: BlockCall) -> Tensor:
        """``[batch, tokens, dim]`` -> the same shape and dtype."""
        m = self.modulate(call.modulation)
        # after the first sub-step the stream is the block's own, unless an add-on may have kept it
        own = may_write() and not self.add_ons
        x = self.run_add_ons("before_block", x, call)
        x = self.self_attention(x, m, call.attention, call.dtype)
        x = self.run_add_ons("after_self_attention", x, call)
        x = self.cross_attention(x, call.sources, call.dtype, in_place=own)
        x = self.run_add_ons("after_cross_attention", x, call)
        x = self.feed_forward(x, m, call.dtype, rows=call.rows, in_place=own)
        return self.run_add_ons("after_block", x, call)

    def modulate(self, projected: Tensor) -> tuple[Tensor, ...]:
        """The six modulation vectors, ``[batch, groups, dim]`` float32 each."""
        return (self.modulation.float().unsqueeze(1) + projected).unbind(2)

    def self_attention(
        self, x: Tensor, m: Sequence[Tensor], call: AttentionCall, dtype: torch.dtype
    ) -> Tensor:
        """The stream after self-attention."""
        normed = modulated_norm(x, m[0], m[1], self.eps, dtype)
        return gated_add(x, self.self_attn(normed, call), m[2])

    def cross_attention(
        self,
        x: Tensor,
        sources: Sequence[Source],
        dtype: torch.dtype,
        *,
        in_place: bool = False,
    ) -> Tensor:
        """The stream after cross-attention, which has neither modulation nor gate.

        Args:
            in_place: the stream is changed rather than copied.
        """
        y = self.cross_attn(normed_as(self.norm3, x, dtype), sources)
        if in_place:
            return x.add_(y)
        out: Tensor = x + y
        return out.to(x.dtype)

    def feed_forward(
        self,
        x: Tensor,
        m: Sequence[Tensor],
        dtype: torch.dtype,
        *,
        rows: int | None = None,
        in_place: bool = False,
    ) -> Tensor:
        """The stream after the feed-forward.

        Args:
            rows: tokens at a time, without gradients; None = all.
            in_place: the stream is changed rather than copied.
        """
        if torch.is_grad_enabled():  # which keeps all of it in any case
            rows = None
        parts = pieces(x.shape[1], rows, m[3].shape[1])
        if not may_write():
            normed = modulated_norm(x, m[3], m[4], self.eps, dtype)
            packed = [one for one in self.ffn if isinstance(one, QuantLinear)]
            with unpacked_once(self.ffn) if packed and len(parts) > 1 else nullcontext():
                made = [self.ffn(normed[:, tokens]) for tokens, _ in parts]
            return gated_add(x, torch.cat(made, dim=1) if len(made) > 1 else made[0], m[5])
        out = x if in_place else torch.empty_like(x)
        with unpacked_once(self.ffn) if len(parts) > 1 else nullcontext():
            for tokens, groups in parts:
                shift, scale, gate = (part[:, groups] for part in m[3:])
                here = x[:, tokens]
                y = self.ffn(modulated_norm(here, shift, scale, self.eps, dtype))
                gated_add(here, y, gate, out[:, tokens])
                del y
        return out

    def attach(self, name: str, add_on: nn.Module, slot: Slot) -> None:
        """Give the block an add-on; those of one slot run in the order in which they came.

        Raises:
            ValueError: the block has an add-on of that name.
        """
        if name in self.add_ons:
            raise ValueError(f"the block already has an add-on {name!r}")
        self.add_ons[name] = add_on
        self.slots[slot] += (name,)

    def detach(self, name: str) -> None:
        """Take an add-on off the block again."""
        del self.add_ons[name]
        for slot, names in self.slots.items():
            self.slots[slot] = tuple(other for other in names if other != name)

    def run_add_ons(self, slot: Slot, x: Tensor, call: BlockCall) -> Tensor:
        """The stream after the add-ons of ``slot`` for which the call has inputs."""
        for name in self.slots[slot]:
            if name in call.add_ons:
                x = self.add_ons[name](x, call.add_ons[name], call)
        return x
