"""The transformer of LongCat-Video (arXiv 2510.22200) with dense attention. Names of parameters are official.

Condition frames come first. They see only themselves and get no text, so that their keys and values are
the same in all steps and branches: :meth:`LongCatTransformer.forward` computes them once (``fill``) and then
takes the noise frames alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.seams.longcat.config import LongCatConfig
from wan_core.contract import NATURAL, Attend, AttentionCall, Segment, State
from wan_core.memory import Unit, rest_of
from wan_core.models.wan import (
    Float32LayerNorm,
    Float32Linear,
    PatchEmbedding,
    RMSNorm,
    RopeCache,
    gated_add,
    grid_of,
    modulated_norm,
    sinusoid,
    unpatchify,
)
from wan_core.models.wan import attend as rope_and_sdpa

EPS = 1e-6
CONDITION, NOISE = "condition", "noise"


def condition_first(attend: Attend) -> Attend:
    """``attend`` for a sequence of condition and noise: condition sees itself, noise sees all.

    The call's segments say what the queries are. With a state, condition tokens leave their keys
    (not rotated) and values in it, and noise tokens find them there.
    """

    def attended(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        parts = [segment.name for segment in call.segments]
        plain = dataclasses.replace(call, state=None)
        if parts == [CONDITION, NOISE]:
            c = call.segments[0].length
            head = dataclasses.replace(
                plain, rope_q=_rows(call.rope_q, 0, c), rope_k=_rows(call.rope_k, 0, c)
            )
            tail = dataclasses.replace(plain, rope_q=_rows(call.rope_q, c, None))
            return torch.cat(
                (attend(q[:, :c], k[:, :c], v[:, :c], head), attend(q[:, c:], k, v, tail)), dim=1
            )
        if call.state is not None and parts == [CONDITION]:
            call.state.update(k=k, v=v)
        elif call.state is not None:
            k, v = (
                torch.cat((call.state[name].expand(len(new), -1, -1, -1), new), dim=1)
                for name, new in (("k", k), ("v", v))
            )
        return attend(q, k, v, plain)

    return attended


def _rows(
    table: tuple[Tensor, Tensor] | None, first: int, end: int | None
) -> tuple[Tensor, Tensor] | None:
    return table and (table[0][first:end], table[1][first:end])


@attrs.define(eq=False)
class BlockCall:
    """What all blocks of a pass share, and one block's attention calls.

    Attributes:
        time: ``[batch, frames, time width]`` float32.
        text: ``[batch, rows, dim]``; None = no cross-attention.
        noise_from: first token that attends to the text.
    """

    time: Tensor
    text: Tensor | None
    noise_from: int
    attend: Attend
    self_attention: AttentionCall
    cross_attention: AttentionCall


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm, self.k_norm = (RMSNorm(dim // heads, eps=EPS) for _ in "qk")
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, call: BlockCall) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        out = condition_first(call.attend)(self.q_norm(q), self.k_norm(k), v, call.self_attention)
        return self.proj(out.flatten(-2))


class CrossAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(dim, dim)
        self.kv_linear = nn.Linear(dim, 2 * dim)
        self.q_norm, self.k_norm = (RMSNorm(dim // heads, eps=EPS) for _ in "qk")
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, text: Tensor, call: BlockCall) -> Tensor:
        q = self.q_linear(x).unflatten(-1, (self.heads, -1))
        k, v = self.kv_linear(text).unflatten(-1, (2, self.heads, -1)).unbind(2)
        out = call.attend(self.q_norm(q), self.k_norm(k), v, call.cross_attention)
        return self.proj(out.flatten(-2))


class SwiGLU(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w3 = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class LongCatBlock(nn.Module):
    """One unit. Modulation is projected here, and differs from frame to frame."""

    def __init__(self, config: LongCatConfig) -> None:
        super().__init__()
        dim, heads = config.hidden_size, config.num_heads
        self.adaLN_modulation = _modulation(config, 6)
        self.attn = SelfAttention(dim, heads)
        self.pre_crs_attn_norm = Float32LayerNorm(dim, eps=EPS)
        self.cross_attn = CrossAttention(dim, heads)
        self.ffn = SwiGLU(dim, config.ffn_width)

    def forward(self, x: Tensor, call: BlockCall) -> Tensor:
        m = self.adaLN_modulation(call.time).chunk(6, dim=-1)
        x = gated_add(x, self.attn(modulated_norm(x, m[0], m[1], EPS, x.dtype), call), m[2])
        if call.text is not None:
            held, x = x[:, : call.noise_from], x[:, call.noise_from :]
            x = x + self.cross_attn(self.pre_crs_attn_norm(x).to(x.dtype), call.text, call)
            x = torch.cat((held, x), dim=1)
        return gated_add(x, self.ffn(modulated_norm(x, m[3], m[4], EPS, x.dtype)), m[5])


class TimeEmbedder(nn.Module):
    def __init__(self, config: LongCatConfig) -> None:
        super().__init__()
        self.frequencies = config.frequency_embedding_size
        width = config.adaln_tembed_dim
        self.mlp = nn.Sequential(
            Float32Linear(self.frequencies, width), nn.SiLU(), Float32Linear(width, width)
        )

    def forward(self, timesteps: Tensor) -> Tensor:
        waves = sinusoid(timesteps, self.frequencies).float()
        return self.mlp(F.pad(waves, (0, self.frequencies % 2)))


class FinalLayer(nn.Module):
    def __init__(self, config: LongCatConfig) -> None:
        super().__init__()
        self.adaLN_modulation = _modulation(config, 2)
        self.linear = Float32Linear(config.hidden_size, 4 * config.out_channels)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(time).chunk(2, dim=-1)
        return self.linear(modulated_norm(x, shift, scale, EPS, x.dtype))


def _modulation(config: LongCatConfig, vectors: int) -> nn.Sequential:
    linear = Float32Linear(config.adaln_tembed_dim, vectors * config.hidden_size)
    return nn.Sequential(nn.SiLU(), linear)


class LongCatTransformer(nn.Module):
    """Predicts ``clean - noise``; see :meth:`forward`. A ``BlockStack`` whose units are the blocks."""

    def __init__(self, config: LongCatConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.hidden_size
        self.x_embedder = nn.ModuleDict({"proj": PatchEmbedding(config.in_channels, dim)})
        self.t_embedder = TimeEmbedder(config)
        mlp = (nn.Linear(config.caption_channels, dim), nn.GELU("tanh"), nn.Linear(dim, dim))
        self.y_embedder = nn.ModuleDict({"y_proj": nn.Sequential(*mlp)})
        self.blocks = nn.ModuleList(LongCatBlock(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config)
        self._ropes = RopeCache()

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: Tensor | None,
        mask: Tensor | None = None,
        *,
        condition: int = 0,
        state: State | None = None,
        fill: bool = False,
        attend: Attend = rope_and_sdpa,
        branch: str = "cond",
        skip_blocks: frozenset[int] = frozenset(),
    ) -> Tensor:
        """Predict ``[batch, out_channels, frames, height, width]`` float32.

        Args:
            latents: ``[batch, in_channels, frames, height, width]``, height and width even.
            timesteps: 0…1000, ``[batch]`` or ``[batch, frames]``.
            text: ``[batch, rows, caption_channels]``; None = without text.
            mask: ``[batch, rows]``, 0 for padding; None = all rows count.
            condition: leading frames that are condition. With ``state`` they are not in ``latents``.
            state: keys and values of the condition frames.
            fill: ``latents`` are the condition frames alone, and ``state`` gets theirs.
        """
        embed = self.x_embedder["proj"]
        frames, height, width = grid = grid_of(latents)
        area = height * width
        first = condition * area if state is not None and not fill else 0  # tokens not here
        rope = self._ropes.tables(
            self.config.head_width,
            (first // area + frames, height, width),
            NATURAL,
            latents.device,
        )
        x = embed(latents)
        if timesteps.ndim == 1:
            timesteps = timesteps.unsqueeze(1).expand(-1, frames)
        time = self.t_embedder(timesteps.to(embed.weight.dtype).float())
        rows, lengths = (None, None) if text is None else self.embed_text(text, mask)
        here = _segments(x.shape[1], condition * area, fill, state is not None)
        noise_from = here[-1].start if here else 0
        shared = AttentionCall(rope_q=_rows(rope, first, None), rope_k=rope, grid=grid)
        shared = dataclasses.replace(shared, segments=here, branch=branch)
        for index, unit in enumerate(self.units()):
            if index in skip_blocks:
                continue
            part = None if state is None else {} if fill else state.parts[unit.name]
            own = dataclasses.replace(shared, block=index, state=part)
            cross = AttentionCall("text", lengths=lengths, block=index, branch=branch)
            x = unit.module(x, BlockCall(time, rows, noise_from, attend, own, cross))
            if state is not None and fill:
                state.parts[unit.name] = part
        return unpatchify(self.final_layer(x, time), grid)

    def embed_text(self, text: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rows ``[batch, rows, dim]``, and how many of them count where not all do."""
        y_proj = self.y_embedder["y_proj"]
        rows = y_proj(text.to(y_proj[0].weight.dtype))
        if mask is None:
            return rows, None
        if self.config.text_tokens_zero_pad:
            return rows * mask.unsqueeze(-1).to(rows.dtype), None
        order = mask.ne(0).int().argsort(dim=1, descending=True, stable=True)
        packed = rows.gather(1, order.unsqueeze(-1).expand_as(rows))
        return packed, mask.ne(0).sum(dim=1)

    def units(self) -> Sequence[Unit]:
        return [Unit(f"blocks.{index}", block) for index, block in enumerate(self.blocks)]

    def rest(self) -> dict[str, Tensor]:
        return rest_of(self, self.units())


def _segments(tokens: int, condition: int, fill: bool, cached: bool) -> tuple[Segment, ...]:
    if fill:
        return (Segment(CONDITION, 0, tokens),)
    if cached:
        return (Segment(NOISE, 0, tokens),)
    if not condition:
        return ()
    return (Segment(CONDITION, 0, condition), Segment(NOISE, condition, tokens - condition))
