"""The way from conditioning to latents that all stages have in common which sample with the standard loop.

A stage says what it tells the denoiser, and, if it does not begin with noise, where it begins. Everything else
is done here: the solver and its schedule, features, attention, experts, previews, runs that go on::

    def run(context):
        latents = sampled(context, lambda shape: text_conditioning(context))
        video = LatentVideo(context.components, latents, context.emit)
        return {"video": context.post_process(video)}
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning
from wan_core.contract.lazy import resolve
from wan_core.contract.loading import Components
from wan_core.contract.requests import StageContext, VideoSize
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
from wan_core.stages.generate_plan import begin_of
from wan_core.stages.previews import previewer

VIDEO = "video"

Shape = tuple[int, int, int, int]
"""Of the latents of a video: channels, frames, height, width."""
Tell = Callable[[Shape], Conditioning]
Start = Callable[[SamplerSetup, Conditioning, Shape], tuple[Conditioning, SamplerState, slice]]


def sampled(context: StageContext, tell: Tell, start: Start | None = None) -> Tensor:
    """The latents of a stage's video: those that a run which was cut short has kept, or new ones.

    The options are a :class:`~wan_core.stages.SamplingOptions` whose defaults are filled in.

    Args:
        tell: what the denoiser is told, before features change it. What this encodes comes before the
            transformer is loaded; components that are done with should be released.
        start: where sampling starts: the conditioning with what is held, the state before the first step, and
            the latent frames that belong to the video; None = from noise.

    Returns:
        ``[1, channels, latent frames, height, width]`` float32 on the stage's device.
    """
    components, size = context.components, context.size
    assert components is not None and size is not None, "the stage has a model and a size"
    shape, statistics = _of_latents(components, size)
    kept = context.kept({VIDEO: (1, *shape)})
    if kept:
        return kept[VIDEO].to(context.device)
    latents = _sample(context, components, shape, statistics, tell, start)
    context.keep({VIDEO: latents})
    return latents


def begun(
    context: StageContext,
    setup: SamplerSetup,
    conditioning: Conditioning,
    shape: Shape,
    clean: Tensor | None = None,
) -> tuple[Conditioning, SamplerState, slice]:
    """A start from the noise of the stage's seed; see :func:`sampled`.

    Args:
        clean: latents that are mixed with it, those of frames before and after the video's included.
    """
    channels, frames, height, width = shape
    before, after = (slot.get(VIDEO, 0) for slot in (conditioning.prepend, conditioning.append))
    whole = {VIDEO: (1, channels, before + frames + after, height, width)}
    noise = noise_sources(context.options.seed, whole)
    known = {} if clean is None else {VIDEO: clean}
    latents = start_latents(setup.schedule, whole, noise, clean=known, device=context.device)
    return conditioning, SamplerState.start(setup, latents, noise), slice(before, before + frames)


def _sample(
    context: StageContext,
    components: Components,
    shape: Shape,
    statistics: LatentStatistics,
    tell: Tell,
    start: Start | None,
) -> Tensor:
    options, family, size = context.options, context.family, context.size
    assert family is not None and size is not None, "the stage has a model and a size"
    slots = family.slots("transformer")
    preview = previewer(context)
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
        tell(shape),
        size=size,
        latent_shapes={VIDEO: shape},
        seed=options.seed,
        components=components,
        task=context.task,
        **circumstances,
    )
    begin = start or partial(begun, context)
    conditioning, state, kept = begin(setup, conditioning, shape)
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

        latents = sample(
            denoiser_of(components, slots, boundary, patched, steps, leave),
            setup.schedule,
            state,
            conditioning=conditioning,
            guidance=build_guidance(options.guidance, boundary=boundary),
            observe=advance,
            health=Health({VIDEO: statistics}),
        )[VIDEO]
    return latents[:, :, kept]


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


def _of_latents(components: Components, size: VideoSize) -> tuple[Shape, LatentStatistics]:
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
