"""Running the stage: loaders, the denoiser, and the segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.seams.longcat.config import KV
from tests.seams.longcat.model import LongCatTransformer
from tests.seams.longcat.plugin import CONFIG
from wan_core.contract import (
    Attend,
    ChunkSource,
    Conditioning,
    Held,
    Inputs,
    Latents,
    LoadRequest,
    StageContext,
    State,
)
from wan_core.contract.lazy import resolve
from wan_core.models import load_stack
from wan_core.models.vae import VaeConfig, VaeDescriptor, WanVAE
from wan_core.sampling import (
    Health,
    LatentStatistics,
    SamplerState,
    build_guidance,
    noise_sources,
    sample,
    start_latents,
)
from wan_core.stages import DecodedVideo, text_conditioning

VIDEO = "video"
TEXT_LENGTH = 16
CHANNELS = CONFIG.in_channels
M = TypeVar("M", bound=nn.Module)


class LongCatDenoiser:
    """Predicts ``clean - noise``. Frames that are held at the start are condition frames.

    Args:
        attend: what computes attention.
        cache: keys and values of frozen frames are computed once a segment and not in every call.
        text_length: rows that the text is padded to.
    """

    sign = -1

    def __init__(
        self,
        transformer: LongCatTransformer,
        attend: Attend,
        *,
        cache: bool = True,
        text_length: int = TEXT_LENGTH,
    ) -> None:
        self.transformer, self.attend = transformer, attend
        self.cache, self.text_length = cache, text_length

    def prefill(self, conditioning: Conditioning) -> Mapping[str, State]:
        """Keys and values of the frozen frames, which are clean and know no text."""
        given = conditioning.freeze.get(VIDEO, ())
        if not given or not self.cache:
            return {}
        frames = given[0].value[:1]
        item = self.transformer.x_embedder["proj"].weight.element_size()
        state = State(self.transformer.config.kv_spec(*frames.shape[-3:], item=item))
        clean = frames.new_zeros(1)
        self.transformer(frames, clean, None, state=state, fill=True, attend=self.attend)
        return {KV: state}

    def __call__(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        noisy, told, text = latents[VIDEO], timesteps[VIDEO], inputs.text[VIDEO]
        condition = sum(end - first for first, end in inputs.held.get(VIDEO, ()))
        state = inputs.state.get(KV)
        known = condition if state else 0
        padding = self.text_length - text.shape[1]
        velocity = self.transformer(
            noisy[:, :, known:],
            told[:, known:] if known else told,
            F.pad(text, (0, 0, 0, padding)),
            F.pad(text.new_ones(text.shape[:2]), (0, padding)),
            condition=condition,
            state=state,
            attend=self.attend,
            branch=inputs.branch,
            skip_blocks=inputs.skip_blocks,
        )
        return {VIDEO: F.pad(velocity, (0, 0, 0, 0, known, 0))}


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Segments on one resident transformer, then one decoding of all latents."""
    components, options, size = context.components, context.options, context.size
    assert components is not None and size is not None and context.family is not None
    vae: WanVAE = components.get("vae")
    shape = vae.latent_shape(options.frames, size.height, size.width)
    health = Health(
        {VIDEO: LatentStatistics(torch.zeros(CHANNELS), torch.ones(CHANNELS))},
    )
    components.release("vae")
    transformer = components.get("transformer")
    denoiser = LongCatDenoiser(transformer, context.attention, cache=options.cache)
    setup = resolve(context.solver(options.solver).build)(steps=options.steps, shift=options.shift)
    noise = noise_sources(options.seed, [VIDEO])
    conditioning = context.condition(
        text_conditioning(context),
        family=context.family,
        size=size,
        latent_shapes={VIDEO: shape},
        steps=options.steps,
        seed=options.seed,
        components=components,
        device=context.device,
        dtype=context.dtype,
    )
    made: Tensor | None = None
    for number in range(1, options.segments + 1):
        if made is not None:
            given = (Held(made[:, :, -options.condition :]),)
            conditioning = attrs.evolve(conditioning, freeze={VIDEO: given}, held_timestep=0.0)
        start = start_latents(setup.schedule, {VIDEO: (1, *shape)}, noise, device=context.device)
        task = f"sampling segment {number}"
        with context.task(task, total=options.steps, unit="step") as progress:
            segment = sample(
                denoiser,
                setup.schedule,
                SamplerState.start(setup, start, noise),
                conditioning=conditioning,
                guidance=build_guidance(options.guidance),
                observe=lambda report, progress=progress: progress(report.step.index + 1),
                health=health,
            )[VIDEO]
        new = segment if made is None else segment[:, :, options.condition :]
        made = new if made is None else torch.cat((made, new), dim=2)
    assert made is not None
    context.keep({VIDEO: made})
    video = DecodedVideo(components.get("vae"), made, context.emit)
    return {VIDEO: context.post_process(video)}


# -- components of random weights ---------------------------------------------------------------------


def load(request: LoadRequest) -> LongCatTransformer:
    """The transformer from a file."""
    return load_stack(request, lambda source: LongCatTransformer(CONFIG))


def load_transformer(request: LoadRequest) -> LongCatTransformer:
    return _random(LongCatTransformer(CONFIG), request)


def load_vae(request: LoadRequest) -> WanVAE:
    config = VaeConfig(dim=4, z_dim=CHANNELS)
    vae = WanVAE.of(VaeDescriptor("random", config, (0.0,) * CHANNELS, (1.0,) * CHANNELS))
    return _random(vae, request)


def load_text_encoder(request: LoadRequest) -> HashedWords:
    return HashedWords()


class HashedWords:
    """One row a word: equal words give equal rows."""

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        return [torch.stack([_row(word) for word in (*p.split(), "</s>")]) for p in prompts]


def _row(word: str) -> Tensor:
    generator = torch.Generator().manual_seed(int.from_bytes(word.encode()[:7], "big"))
    return torch.randn(CONFIG.caption_channels, generator=generator)


def _random(module: M, request: LoadRequest) -> M:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module.requires_grad_(False).eval().to(request.device, request.dtype)
