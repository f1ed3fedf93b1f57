"""Ovi's fused towers for video and sound, of what wan_core exports.

Two stacks of Wan blocks run in step: after the self-attention of a block, each tower's cross-attention attends
to the other tower's tokens beside the text. Source: character-ai/Ovi ``ovi/modules/fusion.py``, ``model.py``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_core.contract import (
    NATURAL,
    AttentionCall,
    Axis,
    Conditioning,
    Inputs,
    Latents,
    LoadRequest,
    Positions,
)
from wan_core.memory import Unit, rest_of
from wan_core.models import load_stack
from wan_core.models.wan import (
    BlockCall,
    Float32LayerNorm,
    Head,
    RopeCache,
    Source,
    WanBlock,
    WanConfig,
    WanTransformer,
    grid_of,
    unpatchify,
)
from wan_core.weights import Dialect, renaming

TOWERS = ("video", "audio")
Grid = tuple[int, int, int]
OFFICIAL = tuple(
    pair
    for tower in TOWERS
    for pair in (
        (f"blocks.{{b}}.{tower}.modulation", f"{tower}_model.blocks.{{b}}.modulation.modulation"),
        (
            f"blocks.{{b}}.norms.{tower}.{{*}}",
            f"{tower}_model.blocks.{{b}}.cross_attn.pre_attn_norm_fusion.{{*}}",
        ),
        (f"blocks.{{b}}.{tower}.{{*}}", f"{tower}_model.blocks.{{b}}.{{*}}"),
        (f"{tower}.{{*}}", f"{tower}_model.{{*}}"),
    )
)
to_own, to_published = renaming(OFFICIAL)
PUBLISHED = Dialect(
    "published",
    "ovi-transformer",
    lambda names: any(name.startswith("video_model.") for name in names),
    to_own,
    to_published,
)


class GatedConvolutions(nn.Module):
    """``w2(silu(w1(x)) * w3(x))`` over time, ``[batch, dim, length]`` -> the same shape."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = -(-(8 * dim // 3) // 256) * 256
        self.w1 = nn.Conv1d(dim, hidden, 7, padding=3, bias=False)
        self.w2 = nn.Conv1d(hidden, dim, 7, padding=3, bias=False)
        self.w3 = nn.Conv1d(dim, hidden, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class SoundEmbedding(nn.Sequential):
    """Sound latents ``[batch, channels, length]`` to tokens ``[batch, length, dim]``."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__(nn.Conv1d(channels, dim, 7, padding=3), nn.SiLU(), GatedConvolutions(dim))

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = super().forward(latents.to(self[0].weight.dtype))
        return out.transpose(1, 2)


class VideoTower(WanTransformer):
    """What the video tower has outside its blocks, which live in pairs: embeddings and head."""

    positions = NATURAL

    def __init__(self, config: WanConfig) -> None:
        super().__init__(attrs.evolve(config, num_layers=0))
        self.ropes = RopeCache()

    def grid(self, latents: Tensor) -> Grid:
        """The token grid of latents."""
        return grid_of(latents)

    def latents(self, patches: Tensor, grid: Grid) -> Tensor:
        """``[batch, tokens, outputs]`` -> latents."""
        return unpatchify(patches, grid)

    def stream(
        self,
        samples: Sequence[Tensor],
        timesteps: Tensor,
        text: Tensor | Sequence[Tensor],
        *,
        branch: str = "cond",
        length: int | None = None,
    ) -> Stream:
        """What the blocks work on.

        Args:
            samples: latents of each sample, whose sizes may differ.
            timesteps: ``[batch]``, ``[batch, frames]`` or ``[batch, tokens]``.
            text: rows of each sample.
            length: tokens that samples are padded to; None = those of the longest.
        """
        grids = [self.grid(sample) for sample in samples]
        counts = [math.prod(grid) for grid in grids]
        length = length or max(counts)
        width, device = self.config.head_width, samples[0].device
        tables = [self.ropes.tables(width, grid, self.positions, device) for grid in grids]

        def padded(parts: Sequence[Tensor], fill: float = 0.0) -> Tensor:
            return torch.stack([F.pad(p, (0, 0, 0, length - len(p)), value=fill) for p in parts])

        rope = (padded([c for c, _ in tables], 1.0), padded([s for _, s in tables]))
        attention = AttentionCall(
            rope_q=rope,
            rope_k=rope,
            grid=grids[0] if len(set(grids)) == 1 else None,
            lengths=torch.tensor(counts, device=device) if min(counts) < length else None,
            branch=branch,
        )
        tokens = padded([self.patch_embedding(sample[None])[0].float() for sample in samples])
        return Stream(
            self, tokens, *self.embed_time(timesteps), self.embed_text(text), grids, attention
        )


class AudioTower(VideoTower):
    """What the audio tower has outside its blocks.

    Its tokens lie on a grid of one row and one column, so that only the pairs of the frames are rotated.

    Args:
        scale: video latent frames that a sound latent counts as.
    """

    def __init__(self, config: WanConfig, scale: float) -> None:
        super().__init__(config)
        self.patch_embedding = SoundEmbedding(config.in_dim, config.dim)
        self.head = Head(config.dim, config.out_dim, config.eps)
        self.positions = Positions(frames=Axis(scale=scale))

    def grid(self, latents: Tensor) -> Grid:
        return latents.shape[-1], 1, 1

    def latents(self, patches: Tensor, grid: Grid) -> Tensor:
        return patches.transpose(1, 2)


@attrs.frozen(eq=False)
class Stream:
    """A tower's tokens in one call, and what all its blocks are told."""

    tower: VideoTower
    tokens: Tensor
    time: Tensor
    projected: Tensor
    text: Tensor
    grids: Sequence[Grid]
    attention: AttentionCall

    def call(self, block: int) -> BlockCall:
        """What a block is told."""
        own = dataclasses.replace(self.attention, block=block)
        text = dataclasses.replace(own, source="text", rope_q=None, rope_k=None, lengths=None)
        dtype = self.tower.compute_dtype(self.tokens.device)
        return BlockCall(self.projected, own, (Source("text", self.text, text),), dtype)

    def finish(self, tokens: Tensor) -> list[Tensor]:
        """From the last block's tokens to the prediction for each sample."""
        patches = self.tower.head(tokens, self.time)
        return [
            self.tower.latents(row[None, : math.prod(grid)], grid)[0]
            for row, grid in zip(patches, self.grids, strict=True)
        ]


class Pair(nn.Module):
    """One block of each tower: a unit."""

    def __init__(self, video: WanConfig, audio: WanConfig) -> None:
        super().__init__()
        self.video, self.audio = WanBlock(video), WanBlock(audio)
        self.video.cross_attn.add_source("fusion", "_fusion", audio.dim)
        self.audio.cross_attn.add_source("fusion", "_fusion", video.dim)
        self.norms = nn.ModuleDict(
            {
                "video": Float32LayerNorm(audio.dim, eps=video.eps),
                "audio": Float32LayerNorm(video.dim, eps=audio.eps),
            }
        )

    def forward(
        self, tokens: Mapping[str, Tensor], calls: Mapping[str, BlockCall]
    ) -> dict[str, Tensor]:
        """Tokens of the towers that are there -> the same; one alone is a plain Wan block."""
        blocks: dict[str, WanBlock] = {name: getattr(self, name) for name in tokens}
        m = {name: block.modulate(calls[name].modulation) for name, block in blocks.items()}
        x = {
            name: block.self_attention(
                tokens[name], m[name], calls[name].attention, calls[name].dtype
            )
            for name, block in blocks.items()
        }
        out = {}
        for name, block in blocks.items():
            call = calls[name]
            fusion = [self._fusion(name, other, x, calls) for other in x if other != name]
            y = block.cross_attention(x[name], (*call.sources, *fusion), call.dtype)
            out[name] = block.feed_forward(y, m[name], call.dtype)
        return out

    def _fusion(
        self, name: str, other: str, x: Mapping[str, Tensor], calls: Mapping[str, BlockCall]
    ) -> Source:
        mine, theirs = calls[name].attention, calls[other].attention
        call = dataclasses.replace(
            mine, source="fusion", rope_k=theirs.rope_k, lengths=theirs.lengths, state=None
        )
        return Source("fusion", self.norms[name](x[other]).to(calls[name].dtype), call)


class FusedTowers(nn.Module):
    """Both towers; a :class:`~wan_core.memory.BlockStack` of pairs.

    Args:
        scale: see :class:`AudioTower`.
    """

    def __init__(self, video: WanConfig, audio: WanConfig, scale: float) -> None:
        super().__init__()
        self.video, self.audio = VideoTower(video), AudioTower(audio, scale)
        self.blocks = nn.ModuleList(Pair(video, audio) for _ in range(video.num_layers))

    def forward(
        self, streams: Mapping[str, Stream], skip_blocks: frozenset[int] = frozenset()
    ) -> dict[str, list[Tensor]]:
        """Predict: tower -> velocity of each sample. A tower alone skips no block."""
        tokens = {name: stream.tokens for name, stream in streams.items()}
        for index, pair in enumerate(self.blocks):
            if index not in skip_blocks or len(streams) == 1:
                calls = {name: stream.call(index) for name, stream in streams.items()}
                tokens = pair(tokens, calls)
        return {name: stream.finish(tokens[name]) for name, stream in streams.items()}

    def tower(self, name: str) -> VideoTower:
        """The tower of that name."""
        tower: VideoTower = getattr(self, name)
        return tower

    def units(self) -> list[Unit]:
        """The pairs."""
        return [Unit(f"blocks.{index}", pair) for index, pair in enumerate(self.blocks)]

    def rest(self) -> dict[str, Tensor]:
        """What lies outside the pairs."""
        return rest_of(self, self.units())


class FusedDenoiser:
    """Predicts ``{"video": …, "audio": …}``; sound latents are ``[batch, channels, length]``."""

    sign = 1

    def __init__(self, transformer: FusedTowers) -> None:
        self.transformer = transformer

    def prefill(self, conditioning: Conditioning) -> Mapping[str, Any]:
        """Nothing is computed ahead."""
        return {}

    @torch.no_grad()
    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        streams = {
            name: self.transformer.tower(name).stream(
                list(latents[name]), timesteps[name], inputs.text[name], branch=inputs.branch
            )
            for name in TOWERS
        }
        predicted = self.transformer(streams, inputs.skip_blocks)
        return {name: torch.stack(samples) for name, samples in predicted.items()}


SIZES = {"dim": 24, "ffn_dim": 64, "num_heads": 2, "num_layers": 3, "freq_dim": 16}
TEXT = {"text_dim": 16, "text_len": 16}  # of the core's random text encoder
AUDIO_CHANNELS = 5
SCALE = 0.19676


def filled(module: nn.Module, value: Callable[[Tensor], Tensor]) -> nn.Module:
    """The module with every parameter given by ``value(parameter)``, ready to predict."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(value(parameter))
    return module.requires_grad_(False).eval()


def smallest() -> FusedTowers:
    """Towers of the smallest shapes, for the core's random VAE and text encoder."""
    return FusedTowers(
        WanConfig(**SIZES, **TEXT),
        WanConfig(**SIZES, **TEXT, in_dim=AUDIO_CHANNELS, out_dim=AUDIO_CHANNELS),
        SCALE,
    )


def load(request: LoadRequest) -> FusedDenoiser:
    """Towers of these shapes from a file."""
    return FusedDenoiser(load_stack(request, lambda source: smallest()))


def load_random(request: LoadRequest) -> FusedDenoiser:
    """The same with fixed random weights."""
    towers = smallest()
    generator = torch.Generator().manual_seed(0)

    def value(parameter: Tensor) -> Tensor:
        scale = max(1, parameter[0].numel()) ** -0.5 if parameter.ndim > 1 else 0.2
        return torch.randn(parameter.shape, generator=generator) * scale

    filled(towers, value).to(request.device, request.dtype)
    return FusedDenoiser(towers)
