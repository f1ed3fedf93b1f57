"""The stage ``generate``: text to video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import attrs
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Timed
from wan_core.contract.events import Event, Note
from wan_core.contract.lazy import resolve
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import Components, StageContext, VideoSize
from wan_core.models.vae import WanVAE
from wan_core.models.wan import AttentionPatches, WanDenoiser
from wan_core.sampling import (
    Health,
    LatentStatistics,
    SamplerSetup,
    SamplerState,
    StepReport,
    build_guidance,
    noise_sources,
    sample,
    start_latents,
)
from wan_core.stages.experts import denoiser_of
from wan_core.stages.previews import previewer

VIDEO = "video"


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Sample latents and hand out a source that decodes them chunk by chunk as it is read."""
    components, size = context.components, context.size
    assert components is not None and size is not None, "generate has a model and a size"
    latents = _sample(context, components, size)
    context.keep({VIDEO: latents})
    return {VIDEO: context.post_process(DecodedVideo(components.get("vae"), latents, context.emit))}


def _sample(context: StageContext, components: Components, size: VideoSize) -> Tensor:
    options = context.options
    assert context.family is not None, "generate has a model"
    preview = previewer(context)
    shape, statistics = _of_latents(components, size)
    slots = context.family.slots("transformer")
    first: WanDenoiser = components.get(slots[0])
    config = first.transformer.config
    solver = context.solver(options.solver)
    with context.attributed(solver):
        setup: SamplerSetup = resolve(solver.build)(
            steps=options.steps, shift=options.shift, sigmas=options.sigmas, width=config.dim
        )
    end = -1 if options.end_step is None else options.end_step
    setup = setup.on(setup.schedule.sliced(options.start_step, end))
    steps = setup.schedule.steps
    circumstances = {
        "family": context.family,
        "device": context.device,
        "dtype": context.dtype,
        "steps": steps,
    }
    conditioning = context.condition(
        text_conditioning(context),
        size=size,
        latent_shapes={VIDEO: shape},
        seed=options.seed,
        components=components,
        **circumstances,
    )
    asked = context.attention_patches(
        blocks=config.num_layers,
        token_grid=(shape[1], (shape[2] + 1) // 2, (shape[3] + 1) // 2),
        **circumstances,
    )
    boundary = context.family.preset.boundary
    noise = noise_sources(options.seed, [VIDEO])
    latents = start_latents(setup.schedule, {VIDEO: (1, *shape)}, noise, device=context.device)

    def patched(denoiser: WanDenoiser) -> AttentionPatches:
        return AttentionPatches(denoiser.transformer, context.attention, asked)

    patched(first)  # what can't be patched is found before the first step
    del first  # which may have to leave before the last one
    with context.task("sampling", total=steps, unit="step") as progress, ExitStack() as leave:

        def advance(report: StepReport) -> None:
            progress(report.step.index + 1)
            preview(report)

        return sample(
            denoiser_of(components, slots, boundary, patched, steps, leave),
            setup.schedule,
            SamplerState.start(setup, latents, noise),
            conditioning=conditioning,
            guidance=build_guidance(options.guidance, boundary=boundary),
            observe=advance,
            health=Health({VIDEO: statistics}),
        )[VIDEO]


def _of_latents(
    components: Components, size: VideoSize
) -> tuple[tuple[int, int, int, int], LatentStatistics]:
    """Shape of the latents, and the constants that they will be decoded with."""
    vae: WanVAE = components.get("vae")
    channels = vae.config.z_dim
    statistics = LatentStatistics(
        mean=torch.tensor(vae.mean or (0.0,) * channels),
        std=torch.tensor(vae.std or (1.0,) * channels),
    )
    # where room is short it leaves while the transformer works
    components.release("vae")
    return vae.latent_shape(size.frames, size.height, size.width), statistics


def text_conditioning(context: StageContext) -> Conditioning:
    """The prompt for every branch, and the negative prompt for the branch ``"uncond"``."""

    def rows(prompt: str) -> dict[str, Timed]:
        text = context.text[prompt].to(context.device, context.dtype)
        return {VIDEO: Timed(text.unsqueeze(0))}

    conditioning = Conditioning(text=rows(context.options.prompt))
    negative = context.options.negative_prompt
    if negative in context.text:
        conditioning = conditioning.with_branch("uncond", text=rows(negative))
    return conditioning


FLAT = 2e-3
"""Standard deviation (of pixels in -1…1) below which a decoded chunk is one colour."""


@attrs.frozen(eq=False)
class DecodedVideo:
    """Decodes latents as it is read: chunks ``[frames, 3, height, width]``, float32 in -1…1, on the CPU."""

    vae: WanVAE
    latents: Tensor
    emit: Callable[[Event], None]
    replayable: bool = True

    def __iter__(self) -> Iterator[Tensor]:
        flat = True
        for decoded in self.vae.decode_stream(self.latents):
            frames = decoded[0].transpose(0, 1).float().clamp(-1, 1).cpu()
            flat = flat and float(frames.std(dim=(0, 2, 3)).max()) < FLAT
            yield frames
        if flat:
            self.emit(
                Note("the whole video is one colour: is this the VAE of this model?", "warning")
            )
