"""Planning of the stage ``generate``: defaults filled in, sizes and solver checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.descriptions import Family, Preset
from wan_core.contract.errors import WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import PlanContext, StageNeeds, VideoSize
from wan_core.sampling.catalog import check_steps
from wan_core.sampling.guidance_table import (
    SCALES,
    check_experts,
    check_lengths,
    check_zero_steps,
)
from wan_core.sampling.levels import check_levels, first_step
from wan_core.stages.given import fill_given
from wan_core.stages.options import SamplingOptions
from wan_core.stages.sights import naming

START_STEP = (
    "start_step = {start}: the first {start} of {steps} steps are left out and sampling starts from "
    "pure noise all the same, because there is no video to go on from"
)
END_STEP = (
    "end_step = {end}: the last {left} of {steps} steps are left out, so the video stays unfinished and "
    "normally noisy, also for a stage that goes on from it"
)
LAST_LEVEL = "the last of the sigmas is {level:g} and not 0, so the video stays noisy"
UNUSUAL_SIZE = (
    "{width}x{height} is none of the sizes that {family} was made for ({sizes}): "
    "expect weaker results"
)


def plan(context: PlanContext) -> StageNeeds:
    """Fill in the family's preset and check what can be checked.

    Raises:
        WorkflowError: a size or number of frames that the family can't make, steps, noise levels or
            guidance that can't be run.
        PluginError: a solver that nobody brings.
    """
    family = context.family
    assert family is not None, "generate is registered as a stage that needs a model"
    given, notes, pictures = fill_given(context)
    # a picture's own proportions are what image-to-video was made for
    free = family.pictures is not None and given.image is not None
    needs = plan_sampling(context, given, notes, any_size=free)
    latents = {"video": "vae"}
    return attrs.evolve(needs, pictures=pictures, gives_latents=latents, takes_latents=latents)


def plan_sampling(
    context: PlanContext,
    given: SamplingOptions,
    notes: Sequence[str] = (),
    *,
    any_size: bool = False,
    prompt: str | None = None,
    encodes: Mapping[str, int] | None = None,
) -> StageNeeds:
    """What a stage needs that samples with the standard loop (:func:`wan_core.stages.sampled`).

    Args:
        given: the stage's options, with what follows from what it is given filled in; the family's preset
            fills in the rest.
        notes: that come first.
        any_size: the family's makers recommend no size for what is given.
        prompt: what the text encoder is told; None = the option ``prompt`` as it is. Options say what the user
            said, so that a plan can be written down and run.
        encodes: what the stage's VAE encodes first; see :class:`StageNeeds`.

    Raises:
        WorkflowError: a size or number of frames that the family can't make, steps, noise levels or
            guidance that can't be run.
        PluginError: a solver that nobody brings.
    """
    family = context.family
    assert family is not None, "the stage has a model"
    preset = family.preset
    if given.sigmas is not None:
        with naming(context, "sigmas"):
            check_levels(given.sigmas)
    options = fill(given, preset)
    _check_size(context, options, preset)
    _check_solver(context, options, family)
    _check_part(context, options)
    _check_guidance(context, options, preset)
    notes = [*notes, *notes_on_steps(options)]
    prompt = options.prompt if prompt is None else prompt
    if family.warn and (note := resolve(family.warn)(prompt)):
        notes.append(note)
    if preset.sizes and not any_size and (options.width, options.height) not in preset.sizes:
        sizes = ", ".join(f"{w}x{h}" for w, h in preset.sizes)
        notes.append(
            UNUSUAL_SIZE.format(
                width=options.width, height=options.height, family=family.name, sizes=sizes
            )
        )
    guided = needs_two_branches(options.guidance)
    return StageNeeds(
        options=options,
        size=VideoSize(options.width, options.height, options.frames, preset.fps),
        prompts=(prompt, options.negative_prompt) if guided else (prompt,),
        branches=2 if guided else 1,
        notes=tuple(notes),
        steps=min(options.end_step or options.steps, options.steps) - begin_of(options),
        encodes=encodes,
    )


def fill(options: SamplingOptions, preset: Preset) -> Any:
    """Every option that is still open, as the family's makers recommend it.

    Noise levels of the user's own say how many steps there are.
    """
    names = (
        "negative_prompt",
        "width",
        "height",
        "frames",
        "steps",
        "guidance",
        "shift",
        "solver",
    )
    missing = {n: getattr(preset, n) for n in names if getattr(options, n) is None}
    if "steps" in missing and options.sigmas is not None:
        missing["steps"] = len(options.sigmas) - 1
    return attrs.evolve(options, **missing)


def begin_of(options: SamplingOptions) -> int:
    """The first step of the schedule that is run."""
    assert options.steps is not None, "filled in"
    return max(options.start_step, first_step(options.steps, _strength(options)))


def _strength(options: SamplingOptions) -> float | None:
    """How much of a video is made anew; None where sampling begins with noise."""
    strength: float | None = getattr(options, "strength", None)
    return strength


def needs_two_branches(guidance: Any) -> bool:
    """Whether any step runs the unconditional branch: every scale but 1 does."""
    table = guidance if isinstance(guidance, Mapping) else {"scale": guidance}
    scales = (table[key] for key in SCALES if key in table)
    return any(n != 1 for s in scales for n in (s if isinstance(s, tuple) else (s,)))


def _check_size(context: PlanContext, options: Any, preset: Preset) -> None:
    multiple = preset.size_multiple
    for side in ("width", "height"):
        value = getattr(options, side)
        if value % multiple:
            below = value // multiple * multiple
            raise WorkflowError(
                f"{side} {value} is no multiple of {multiple}",
                where=context.where(side),
                remedy=f"use {max(below, multiple)} or {below + multiple}",
            )
    if (options.frames - 1) % preset.frame_step:
        below = (options.frames - 1) // preset.frame_step * preset.frame_step + 1
        raise WorkflowError(
            f"{options.frames} frames can't be made: the number must be "
            f"{preset.frame_step} * n + 1",
            where=context.where("frames"),
            remedy=f"use {below} or {below + preset.frame_step}",
        )


def notes_on_steps(options: Any) -> list[str]:
    """What a run of a part of the schedule means for the video."""
    notes = []
    if options.start_step > 0 and _strength(options) is None:
        notes.append(START_STEP.format(start=options.start_step, steps=options.steps))
    if options.end_step is not None and options.end_step < options.steps:
        left = options.steps - options.end_step
        notes.append(END_STEP.format(end=options.end_step, left=left, steps=options.steps))
    elif options.sigmas is not None and options.sigmas[-1] > 0:
        notes.append(LAST_LEVEL.format(level=options.sigmas[-1]))
    return notes


def _check_solver(context: PlanContext, options: Any, family: Family) -> None:
    with naming(context, "solver"):
        solver = context.solver(options.solver)
    if options.sigmas is None:
        slots = family.slots("transformer")
        width = family.components[slots[0]].config.get("dim") if slots else None
        with naming(context, "steps"):
            check_steps(solver.name, options.steps, solver.step_counts(width))
        return
    if options.steps != len(options.sigmas) - 1:
        raise WorkflowError(
            f"steps is {options.steps}, but the {len(options.sigmas)} sigmas make "
            f"{len(options.sigmas) - 1} steps",
            where=context.where("steps"),
            remedy="leave steps out",
        )


def _check_part(context: PlanContext, options: Any) -> None:
    start, end, steps = options.start_step, options.end_step, options.steps
    # a strength of 1 is what a plan writes down beside start_step, and contradicts nothing
    if start and _strength(context.options) not in (None, 1):
        raise WorkflowError(
            "start_step and strength both say where sampling begins",
            where=context.where("start_step"),
            remedy="leave one of them out",
        )
    if start >= steps:
        raise WorkflowError(
            f"start_step {start} leaves none of the {steps} steps to do",
            where=context.where("start_step"),
            remedy=f"use at most {steps - 1} (the first step is 0)",
        )
    begin = begin_of(options)
    if end is not None and end <= begin:
        said = (
            f"start_step {start}"
            if start
            else f"the first {begin} steps, which strength leaves out"
        )
        said = said if begin else "start_step 0"
        raise WorkflowError(
            f"end_step {end} leaves nothing to do after {said}",
            where=context.where("end_step"),
            remedy=f"use {begin + 1} to {steps}",
        )


def _check_guidance(context: PlanContext, options: Any, preset: Preset) -> None:
    with naming(context, "guidance"):
        check_experts(options.guidance, two=preset.boundary is not None)
        check_lengths(options.guidance, options.steps)
        end = min(options.end_step or options.steps, options.steps)
        check_zero_steps(options.guidance, end - begin_of(options))
