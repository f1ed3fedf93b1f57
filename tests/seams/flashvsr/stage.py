"""What the probe's stage runs: its own driver, one model call per chunk, frames leaving before the next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract import Attend, ChunkSource, LoadRequest, StageContext, VideoSize
from wan_core.media import fit, resample
from wan_core.models import load_stack
from wan_core.models.vae import VaeConfig, WanVAE
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.sampling import SeededNoise

from .attention import LocalSparseAttention
from .model import (
    LqProjection,
    ProjectionState,
    Stream,
    clips,
    streaming_transformer,
    with_tokens,
)
from .plugin import LOOK_AHEAD, UpscaleOptions, scaled, state_spec

M = TypeVar("M", bound=nn.Module)
FIRST, LATER = 6, 2
"""Latent frames of the first chunk, and of the others."""


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Hand out a source that reads its input, computes and decodes as it is read."""
    components, size = context.components, context.size
    assert components is not None and size is not None, "the stage has a model and a size"
    source = context.inputs[context.options.video]
    model = Model(*(components.get(field.name) for field in attrs.fields(Model)))
    upscaled = Upscaled(source, model, context.options, size, context.attention)
    return {"video": context.post_process(upscaled)}


@attrs.frozen(eq=False)
class Model:
    """The components; all of them work in every chunk."""

    transformer: WanDenoiser
    lq_projection: LqProjection
    prompt: Tensor
    vae: WanVAE


@attrs.frozen(eq=False)
class Upscaled:
    """A source of frames; every reader has a stream of its own, of which nothing is left afterwards."""

    source: ChunkSource
    model: Model
    options: UpscaleOptions
    size: VideoSize
    attention: Attend

    @property
    def replayable(self) -> bool:
        return self.source.replayable

    def __iter__(self) -> Iterator[Tensor]:
        """Chunks ``[frames, 3, height, width]``, float32 in -1…1, on the CPU."""
        stream, noise = self.stream(), SeededNoise(self.options.seed)
        memory, decoder = ProjectionState(), self.model.vae.decoder_state()
        with closing(self.frames()) as frames:
            pieces = clips(frames, self.size.frames + LOOK_AHEAD)
            with torch.no_grad():
                self.model.lq_projection(next(pieces).to(self.model.prompt), memory)
            left = (self.size.frames + 3) // 4
            while left:
                latents = LATER if stream.first else FIRST
                # torch's mode is of the thread, which is the reader's between two chunks
                with torch.no_grad():
                    tokens = self.tokens(islice(pieces, latents), memory)
                    clean = stream.step(self.noise(noise, latents), tokens)
                    video = self.model.vae.decode_chunk(clean, decoder)
                yield video[0].transpose(0, 1).float().clamp(-1, 1).cpu()
                left -= latents

    def stream(self) -> Stream:
        """A new stream through the transformer."""
        options, pixels = self.options, self.size.width * self.size.height
        sparse = LocalSparseAttention(
            options.sparse_ratio * 768 * 1280 / pixels, options.kv_ratio, options.local_range
        )
        spec = state_spec(options, self.size, self.model.prompt.element_size())
        return Stream(self.model.transformer, self.model.prompt, sparse, self.attention, spec)

    def frames(self) -> Iterator[Tensor]:
        """The frames of the input, in the size of the result; no more of them than are asked for."""
        for chunk in self.source:
            for frame in chunk:
                picture = frame.permute(1, 2, 0).cpu().numpy()
                sides = (scaled(side, self.options.scale) for side in picture.shape[1::-1])
                larger = resample(picture, *sides, "bicubic")
                kept = fit(larger, self.size.width, self.size.height, "crop")
                yield torch.from_numpy(kept).permute(2, 0, 1)

    def tokens(self, pieces: Iterator[Tensor], memory: ProjectionState) -> list[Tensor]:
        """The tokens of a chunk's clips, for each layer."""
        found = [self.model.lq_projection(clip.to(self.model.prompt), memory) for clip in pieces]
        return [torch.cat(rows, dim=1) for rows in zip(*found, strict=True)]

    def noise(self, source: SeededNoise, latents: int) -> Tensor:
        """Drawn chunk by chunk: a video's beginning does not depend on its length."""
        channels = self.model.transformer.transformer.config.in_dim
        shape = (1, channels, latents, self.size.height // 8, self.size.width // 8)
        return source.draw(shape).to(self.model.prompt.device)


def load_transformer(request: LoadRequest) -> WanDenoiser:
    """The same from a file."""
    config = WanConfig(**request.component.config)
    return WanDenoiser(load_stack(request, lambda _: with_tokens(WanTransformer(config))))


def random_transformer(request: LoadRequest) -> WanDenoiser:
    """See :func:`~.model.streaming_transformer`."""
    denoiser = streaming_transformer(WanConfig(**request.component.config))
    random(denoiser.transformer, request)
    return denoiser


def random_lq_projection(request: LoadRequest) -> LqProjection:
    """See :class:`~.model.LqProjection`."""
    return random(LqProjection(**request.component.config), request)


def random_vae(request: LoadRequest) -> WanVAE:
    """The core's VAE, as narrow as it gets."""
    return random(WanVAE(VaeConfig(**request.component.config)), request)


def random_prompt(request: LoadRequest) -> Tensor:
    """The one prompt that such a model was trained with, encoded: ``[rows, text width]``."""
    shape = request.component.config["rows"], request.component.config["text_dim"]
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return rows.to(request.device, request.dtype)


def random(module: M, request: LoadRequest) -> M:
    """``module`` with fixed random weights."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Any] = {}
    for name, value in module.state_dict().items():
        scale = max(1, value[0].numel()) ** -0.5 if value.ndim > 1 else 0.1
        state[name] = torch.randn(value.shape, generator=generator) * scale
    module.load_state_dict(state)
    return module.requires_grad_(False).eval().to(request.device, request.dtype)
