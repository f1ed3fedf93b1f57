"""The stage ``generate``: a video from a prompt, from pictures, or from another video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F

from wan_core.contract.conditioning import Conditioning, Held, Timed
from wan_core.contract.lazy import resolve
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import Components, PictureRequest, StageContext, VideoSize
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
from wan_core.stages.frames import given_frames, mask_of_latents
from wan_core.stages.generate_plan import begin_of
from wan_core.stages.handing import LatentVideo, encode_video
from wan_core.stages.previews import previewer

VIDEO = "video"


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Sample latents and hand out a source that decodes them chunk by chunk as it is read."""
    components = context.components
    assert components is not None, "generate has a model"
    latents = _kept(context, components)
    if latents is None:
        latents = _sample(context, components)
        context.keep({VIDEO: latents})
    return {VIDEO: context.post_process(LatentVideo(components, latents, context.emit))}


def _kept(context: StageContext, components: Components) -> Tensor | None:
    """The latents that were sampled before this run was cut short."""
    assert context.size is not None, "generate has a size"
    shape, _ = _of_latents(components, context.size)
    kept = context.kept({VIDEO: (1, *shape)})
    return kept[VIDEO].to(context.device) if kept else None


def _sample(context: StageContext, components: Components) -> Tensor:
    options, family, size = context.options, context.family, context.size
    assert family is not None and size is not None, "generate has a model and a size"
    slots = family.slots("transformer")
    preview = previewer(context)
    shape, statistics = _of_latents(components, size)
    setup = _schedule(context, components.details(slots[0]).get("dim"))
    steps = setup.schedule.steps
    circumstances = {
        "family": family,
        "device": context.device,
        "dtype": context.dtype,
        "steps": steps,
    }
    # all that needs other components comes before the transformer, so that they need not fit beside it
    conditioning = context.condition(
        _told(context, components, size),
        size=size,
        latent_shapes={VIDEO: shape},
        seed=options.seed,
        components=components,
        task=context.task,
        **circumstances,
    )
    conditioning, state, kept = _start(context, components, setup, conditioning, shape)
    first: WanDenoiser = components.get(slots[0])
    _, _, *grid = state.latents[VIDEO].shape
    asked = context.attention_patches(
        blocks=first.transformer.config.num_layers,
        token_grid=(grid[0], (grid[1] + 1) // 2, (grid[2] + 1) // 2),
        **circumstances,
    )
    boundary = family.preset.boundary

    def patched(denoiser: WanDenoiser) -> AttentionPatches:
        return AttentionPatches(denoiser.transformer, context.attention, asked)

    patched(first)  # what can't be patched is found before the first step
    del first  # which may have to leave before the last one
    with context.task("sampling", total=steps, unit="step") as progress, ExitStack() as leave:

        def advance(report: StepReport) -> None:
            progress(report.step.index + 1)
            preview(report, kept)

        sampled = sample(
            denoiser_of(components, slots, boundary, patched, steps, leave),
            setup.schedule,
            state,
            conditioning=conditioning,
            guidance=build_guidance(options.guidance, boundary=boundary),
            observe=advance,
            health=Health({VIDEO: statistics}),
        )[VIDEO]
    return sampled[:, :, kept]


def _schedule(context: StageContext, width: int | None) -> SamplerSetup:
    """The solver on the part of its schedule that is run; ``width`` is that of the transformer."""
    options = context.options
    solver = context.solver(options.solver)
    with context.attributed(solver):
        setup: SamplerSetup = resolve(solver.build)(
            steps=options.steps, shift=options.shift, sigmas=options.sigmas, width=width
        )
    end = -1 if options.end_step is None else options.end_step
    return setup.on(setup.schedule.sliced(begin_of(options), end))


def _start(
    context: StageContext,
    components: Components,
    setup: SamplerSetup,
    conditioning: Conditioning,
    shape: Sequence[int],
) -> tuple[Conditioning, SamplerState, slice]:
    """Where sampling starts: from noise, or from a given video that is mixed with it.

    Args:
        shape: of the latents of the output, ``(channels, frames, height, width)``.

    Returns:
        The conditioning with what a mask holds, the state before the first step, and the latent frames that
        belong to the output.
    """
    options, size = context.options, context.size
    assert size is not None
    channels, frames, height, width = shape
    before, after = (slot.get(VIDEO, 0) for slot in (conditioning.prepend, conditioning.append))
    whole = {VIDEO: (1, channels, before + frames + after, height, width)}
    clean: dict[str, Tensor] = {}
    if options.video is not None:
        given = encode_video(context)
        clean[VIDEO] = F.pad(given, (0, 0, 0, 0, before, after))
        if options.mask is not None:
            vae: WanVAE = components.get("vae")
            anew = mask_of_latents(context, size, vae.config.stride)
            components.release("vae")
            conditioning = _with_mask(conditioning, context, anew, clean[VIDEO])
    noise = noise_sources(options.seed, whole)
    latents = start_latents(setup.schedule, whole, noise, clean=clean, device=context.device)
    state = SamplerState.start(setup, latents, noise)
    return conditioning, state, slice(before, before + frames)


def _told(context: StageContext, components: Components, size: VideoSize) -> Conditioning:
    """What the family tells its denoiser: the prompts, and the frames that are given."""
    conditioning = text_conditioning(context)
    given = given_frames(context, size)
    if not given:
        return conditioning
    assert context.family is not None and context.family.pictures is not None
    request = PictureRequest(
        VIDEO,
        given,
        context.family,
        size,
        components,
        context.device,
        context.dtype,
        context.task,
    )
    with context.attributed(context.family):
        told: Conditioning = resolve(context.family.pictures.condition)(request, conditioning)
    return told


def _with_mask(
    conditioning: Conditioning, context: StageContext, anew: Tensor, clean: Tensor
) -> Conditioning:
    """Hold what a mask does not make anew, at every step's level of noise."""
    # the noise that the run starts from, so that what is held is where a run of its own would have it
    noise = noise_sources(context.options.seed, [VIDEO])[VIDEO].draw(clean.shape)
    before = conditioning.prepend.get(VIDEO, 0)
    frames = slice(before, before + anew.shape[2])
    told = (clean[:, :, frames], 1 - anew, noise[:, :, frames])
    value, keep, noise = (tensor.to(context.device) for tensor in told)
    # what the family or a feature holds is written over it
    pinned = (Held(value, before, keep, noise), *conditioning.pin.get(VIDEO, ()))
    return attrs.evolve(conditioning, pin={**conditioning.pin, VIDEO: pinned})


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
