"""Planning of the stage ``generate``: defaults filled in, sizes and solver checked. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from wan_core.contract.descriptions import Preset
from wan_core.contract.errors import WanCoreError, WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import PlanContext, StageNeeds, VideoSize
from wan_core.stages.guidance_field import SCALES
from wan_core.stages.options import GenerateOptions

UNUSUAL_SIZE = (
    "{width}x{height} is none of the sizes that {family} was made for ({sizes}): "
    "expect weaker results"
)


def plan(context: PlanContext) -> StageNeeds:
    """Fill in the family's preset and check what can be checked.

    Raises:
        WorkflowError: a size or number of frames that the family can't make, a wrong number of steps.
        PluginError: a solver that nobody brings.
    """
    family = context.family
    assert family is not None, "generate is registered as a stage that needs a model"
    preset = family.preset
    options = fill(context.options, preset)
    _check_size(context, options, preset)
    _check_solver(context, options)
    notes = []
    if family.warn and (note := resolve(family.warn)(options.prompt)):
        notes.append(note)
    if preset.sizes and (options.width, options.height) not in preset.sizes:
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
        prompts=(options.prompt, options.negative_prompt) if guided else (options.prompt,),
        branches=2 if guided else 1,
        notes=tuple(notes),
    )


def fill(options: GenerateOptions, preset: Preset) -> Any:
    """Every option that the workflow leaves open, as the family's makers recommend it."""
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
    return attrs.evolve(options, **missing)


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


def _check_solver(context: PlanContext, options: Any) -> None:
    try:
        solver = context.solver(options.solver)
    except WanCoreError as error:
        error.where = context.where("solver")
        raise
    if options.sigmas is None and solver.fixed_steps and options.steps not in solver.fixed_steps:
        allowed = " or ".join(map(str, solver.fixed_steps))
        raise WorkflowError(
            f"solver {solver.name} runs in {allowed} steps, not in {options.steps}",
            where=context.where("steps"),
            remedy=f"use steps = {solver.fixed_steps[-1]}, or another solver",
        )
