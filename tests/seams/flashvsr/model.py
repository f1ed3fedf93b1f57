"""The streaming transformer: the core's own, with two things attached and one replaced.

Tokens of the low-resolution frames join the stream before a block (an add-on), every self-attention is that of
:mod:`.attention`, and positions in time go on from chunk to chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_core.contract import Attend, AttentionPatch, Axis, Inputs, Positions, State, StateSpec
from wan_core.models.wan import (
    AttentionPatches,
    BlockCall,
    WanConfig,
    WanDenoiser,
    WanTransformer,
)

from .attention import LocalSparseAttention

LQ = "lq"
"""Name of the add-on that takes the low-resolution frames in."""
VIDEO = "video"
TIMESTEP = 1000.0
CELL = 16
"""Pixels per side of a token."""


class AddTokens(nn.Module):
    """Adds the input named after the block, ``[batch, tokens, dim]``, to the stream."""

    def forward(self, x: Tensor, inputs: Mapping[str, Tensor], call: BlockCall) -> Tensor:
        return x + inputs[layer(call.attention.block)].to(x.dtype)


def layer(block: int) -> str:
    """Name of the add-on's input for a block."""
    return f"layer.{block}"


def streaming_transformer(config: WanConfig, layers: int = 1) -> WanDenoiser:
    """A transformer whose first ``layers`` blocks take tokens of low-resolution frames."""
    return WanDenoiser(with_tokens(WanTransformer(config), layers).eval(), VIDEO)


def with_tokens(transformer: WanTransformer, layers: int = 1) -> WanTransformer:
    """The transformer, whose first ``layers`` blocks take tokens of low-resolution frames."""
    for index in range(layers):
        block = transformer.get_submodule(f"blocks.{index}")
        block.attach(LQ, AddTokens(), "before_block")
    return transformer


@attrs.define(eq=False)
class Stream:
    """One video on its way through the transformer, a chunk at a time.

    Attributes:
        denoiser: shared with other streams; it is as it was after every call.
        text: ``[rows, text width]``.
        sparse: serves the self-attention.
        default: serves every other attention.
        spec: of the state of the self-attention, which begins empty.
        first: place of the next latent frame in the video.
    """

    denoiser: WanDenoiser
    text: Tensor
    sparse: LocalSparseAttention
    default: Attend
    spec: StateSpec = StateSpec("attention", 0, mutable=True)
    state: State = attrs.field(init=False)
    first: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.state = State(self.spec)

    def predict(
        self, noise: Tensor, tokens: Sequence[Tensor], timestep: float = TIMESTEP
    ) -> Tensor:
        """Velocity of the next chunk, which the caches then know.

        Args:
            noise: ``[batch, channels, frames, height, width]``.
            tokens: for each block that takes them, ``[batch, tokens, dim]``.
        """
        inputs = Inputs(
            timestep=timestep,
            text={VIDEO: self.text.unsqueeze(0)},
            add_ons={LQ: {layer(block): rows for block, rows in enumerate(tokens)}},
            positions={VIDEO: Positions(frames=Axis(offset=self.first))},
            state={self.spec.name: self.state},
        )
        times = {VIDEO: torch.full((len(noise),), timestep, device=noise.device)}
        patches = AttentionPatches(
            self.denoiser.transformer, self.default, [AttentionPatch(self.sparse)]
        )
        # only while it computes: between chunks the transformer may serve others
        with patches.active():
            patches.use(0, 1)
            velocity = self.denoiser({VIDEO: noise}, times, inputs)[VIDEO]
        self.first += noise.shape[2]
        return velocity

    def step(self, noise: Tensor, tokens: Sequence[Tensor]) -> Tensor:
        """Clean latents of the next chunk: the whole way from noise in one step."""
        return noise - self.predict(noise, tokens)


@attrs.define(eq=False)
class ProjectionState:
    """The two frames that each convolution has seen last."""

    conv1: Tensor | None = None
    conv2: Tensor | None = None


class LqProjection(nn.Module):
    """Low-resolution frames, scaled to the size of the result, to tokens; causal in time."""

    def __init__(self, dim: int, hidden: tuple[int, int], layers: int = 1) -> None:
        super().__init__()
        kernel, stride = (4, 3, 3), (2, 1, 1)
        self.conv1 = nn.Conv3d(3 * CELL * CELL, hidden[0], kernel, stride)
        self.gamma1 = nn.Parameter(torch.ones(hidden[0], 1, 1, 1))
        self.conv2 = nn.Conv3d(hidden[0], hidden[1], kernel, stride)
        self.gamma2 = nn.Parameter(torch.ones(hidden[1], 1, 1, 1))
        self.linear_layers = nn.ModuleList(nn.Linear(hidden[1], dim) for _ in range(layers))

    def forward(self, clip: Tensor, state: ProjectionState) -> list[Tensor] | None:
        """The tokens of a clip, ``[batch, tokens, dim]`` for each layer; None for the first of a video.

        Args:
            clip: ``[batch, 3, 4, height, width]``, the first clip one frame.
        """
        clip = clip.expand(-1, -1, 4, -1, -1) if state.conv1 is None else clip
        x = F.pixel_unshuffle(clip.transpose(1, 2), CELL).transpose(1, 2)
        y = self.conv(x, state.conv1, self.conv1, self.gamma1)
        seen = state.conv2
        # views would keep all frames
        state.conv1, state.conv2 = x[:, :, -2:].clone(), y[:, :, -2:].clone()
        if seen is None:
            return None
        return self.tokens(self.conv(y, seen, self.conv2, self.gamma2))

    def conv(self, x: Tensor, past: Tensor | None, conv: nn.Module, gamma: Tensor) -> Tensor:
        """A convolution over past and present frames, normed over channels, and SiLU."""
        past = x[:, :, :1].expand(-1, -1, 2, -1, -1) if past is None else past
        x = conv(F.pad(torch.cat((past, x), dim=2), (1, 1, 1, 1, 0, 0), mode="replicate"))
        return F.silu(F.normalize(x, dim=1) * x.shape[1] ** 0.5 * gamma)

    def tokens(self, x: Tensor) -> list[Tensor]:
        """``[batch, channels, frames, rows, columns]`` to the tokens of each layer."""
        rows = x.flatten(2).transpose(1, 2)
        return [linear(rows) for linear in self.linear_layers]


def clips(frames: Iterator[Tensor], total: int) -> Iterator[Tensor]:
    """One frame, then four at a time, ``total`` in all; the last one is repeated where frames lack.

    Args:
        frames: ``[3, height, width]`` each.

    Yields:
        ``[1, 3, frames, height, width]``.
    """
    last: Tensor | None = None
    done = 0
    while done < total:
        clip = []
        for _ in range(4 if done else 1):
            last = next(frames, last)
            assert last is not None, "there is a first frame"
            clip.append(last)
        done += len(clip)
        yield torch.stack(clip, dim=1).unsqueeze(0)
