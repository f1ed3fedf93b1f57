"""Ovi as a plugin, to prove that the contract carries it; with random weights in the smallest shapes.

Two named latents of different rank, a solver and a scale of guidance for each, a first frame that is held, a
block that the unconditional branch skips, and two outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract import (
    ChunkSource,
    Component,
    Description,
    Dialect,
    Family,
    GoldenKinds,
    PlanContext,
    Preset,
    Stack,
    Stage,
    StageContext,
    StageNeeds,
    VideoSize,
    WorkflowError,
)
from wan_core.contract.lazy import resolve
from wan_core.contract.options import integer, number, path, registered, seed, text
from wan_core.hookspecs import hookimpl
from wan_core.models.wan import KEEP_FLOAT32

WAN_CORE_CONTRACT = (1, 0)
HERE = "tests.seams.ovi"


@hookimpl
def wan_register() -> Sequence[Description]:
    loaders = {
        "transformer": ("ovi-transformer", f"{HERE}.model:load_random"),
        "text_encoder": ("umt5-encoder", "wan_core.models:random_text_encoder"),
        "vae": ("wan-vae", "wan_core.models:random_vae"),
    }
    components = {
        slot: Component(kind=kind, load=load, needs_file=False)
        for slot, (kind, load) in loaders.items()
    }
    family = Family(
        name="ovi-probe",
        title="video with sound, random weights",
        task="text-to-video",
        components=components,
        preset=Preset(
            width=32,
            height=32,
            frames=9,
            fps=24,
            steps=3,
            shift=5.0,
            guidance=4.0,
            negative_prompt="blur",
        ),
        stages=("ovi-probe-generate",),
    )
    stack = Stack(keep_float32=(*(f"*{one}" for one in KEEP_FLOAT32), "*.norms.*"))
    towers = Component("ovi-transformer", f"{HERE}.model:load", stack=stack)
    stored = attrs.evolve(
        family, name="ovi-stored", components={**components, "transformer": towers}
    )
    stage = Stage(
        name="ovi-probe-generate",
        summary="make a video with sound from a prompt",
        options=f"{HERE}.plugin:Options",
        run=f"{HERE}.plugin:run",
        plan=f"{HERE}.plugin:plan",
        outputs=("video", "audio"),
    )
    names = Dialect("ovi-published", "ovi-transformer", f"{HERE}.model:PUBLISHED")
    return [family, stored, names, stage, GoldenKinds(f"{HERE}.golden:HANDLERS")]


@attrs.frozen
class Options:
    prompt: str = text(help="what is seen and heard")
    negative_prompt: str | None = text(default=None, help="for the picture")
    audio_negative_prompt: str = text(default="echo", help="for the sound")
    image: Path | None = path(default=None, help="the first frame")
    frames: int = integer(1, 1000, default=9, help="4n + 1")
    audio_length: int = integer(1, 1000, default=13, help="latents of the sound")
    steps: int = integer(1, 100, default=3, help="sampling steps")
    seed: int = seed(default=0, help="of the noise")
    video_scale: float = number(0, 10, default=4.0, help="guidance of the picture")
    audio_scale: float = number(0, 10, default=3.0, help="guidance of the sound")
    skip_block: int = integer(
        0, 30, default=1, help="block that the negative branch skips; 0 = none"
    )
    solver: str = registered("solver", default="unipc", help="how the noise is taken away")


def plan(context: PlanContext) -> StageNeeds:
    """Fill in the preset and say what will be encoded."""
    assert context.family is not None
    preset, options = context.family.preset, context.options
    if (options.frames - 1) % preset.frame_step:
        raise WorkflowError("frames must be 4 * n + 1", where=context.where("frames"))
    context.solver(options.solver)
    if options.negative_prompt is None:
        options = attrs.evolve(options, negative_prompt=preset.negative_prompt)
    return StageNeeds(
        options=options,
        size=VideoSize(preset.width, preset.height, options.frames, preset.fps),
        prompts=(options.prompt, options.negative_prompt, options.audio_negative_prompt),
        branches=2,
    )


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Sample both latents together, and hand out a source of each."""
    from tests.seams.ovi.parts import ScalePerLatent, Tone, first_frame, told
    from wan_core.models.wan import AttentionPatches
    from wan_core.sampling import SamplerState, noise_sources, sample, start_latents
    from wan_core.stages import DecodedVideo

    options, size, components = context.options, context.size, context.components
    assert size is not None and components is not None
    vae, denoiser = components.get("vae"), components.get("transformer")
    shapes = {
        "video": vae.latent_shape(size.frames, size.height, size.width),
        "audio": (denoiser.transformer.audio.config.in_dim, options.audio_length),
    }
    solver = context.solver(options.solver)
    with context.attributed(solver):
        setup = resolve(solver.build)(steps=options.steps, shift=5.0)
    rows = {p: r.to(context.device, context.dtype)[None] for p, r in context.text.items()}
    negatives = {"video": options.negative_prompt, "audio": options.audio_negative_prompt}
    first = first_frame(vae, options.image, size) if options.image else None
    components.release("vae")
    del vae  # where room is short it leaves while the transformer works
    conditioning = told(rows[options.prompt], {n: rows[p] for n, p in negatives.items()}, first)
    common = {
        "family": context.family,
        "device": context.device,
        "dtype": context.dtype,
        "steps": options.steps,
    }
    conditioning = context.condition(
        conditioning,
        size=size,
        latent_shapes=shapes,
        seed=options.seed,
        components=components,
        **common,
    )
    blocks = {n: [getattr(pair, n) for pair in denoiser.transformer.blocks] for n in shapes}
    grid = (shapes["video"][1], shapes["video"][2] // 2, shapes["video"][3] // 2)
    asked = context.attention_patches(blocks=len(blocks["video"]), token_grid=grid, **common)
    noise = noise_sources(options.seed, shapes)
    start = {n: (1, *shape) for n, shape in shapes.items()}
    state = SamplerState.start(
        setup, start_latents(setup.schedule, start, noise, device=context.device), noise
    )
    with (
        context.task("sampling", total=options.steps, unit="step") as progress,
        ExitStack() as stack,
    ):
        attention = [
            AttentionPatches(blocks["video"], context.attention, asked),
            AttentionPatches(blocks["audio"], context.attention),
        ]
        for patches in attention:
            stack.enter_context(patches.active())
            patches.use(0, options.steps)

        def advance(report: Any) -> None:
            progress(report.step.index + 1)
            for patches in attention:
                patches.use(report.step.index + 1, options.steps)

        latents = sample(
            denoiser,
            setup.schedule,
            state,
            conditioning=conditioning,
            guidance=ScalePerLatent(
                {"video": options.video_scale, "audio": options.audio_scale},
                frozenset({options.skip_block} - {0}),
            ),
            observe=advance,
        )
    context.keep(latents)
    video = DecodedVideo(components.get("vae"), latents["video"], context.emit)
    return {"video": context.post_process(video), "audio": Tone(latents["audio"])}
