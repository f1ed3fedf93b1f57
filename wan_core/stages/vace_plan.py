"""Planning of the feature ``vace``: what it is given is looked at, and its steps are laid out. No torch."""

from __future__ import annotations

import attrs

from wan_core.contract.conditioning import StepRange
from wan_core.contract.errors import MediaError, WorkflowError
from wan_core.contract.requests import FeatureCheck
from wan_core.stages.sights import Sight, look, look_at_mask, look_at_picture, naming, nearly
from wan_core.stages.vace_options import VaceOptions

ONLY_WITH_VIDEO = ("mask", "video_start")


def check(request: FeatureCheck) -> list[str]:
    """Look at everything that is given; notes for the user.

    Raises:
        WorkflowError: options that don't go together, or never count.
        MediaError: a file is not what it should be.
    """
    options: VaceOptions = request.options
    _check_steps(request, options)
    if options.video is None:
        for name in ONLY_WITH_VIDEO:
            if getattr(options, name):
                raise WorkflowError(
                    f"{name} is said of video, and there is none",
                    where=request.where(name),
                    remedy=f'add video = "FILE", or leave {name} out',
                )
    notes = [] if options.video is not None or options.references else [NOTHING_GIVEN]
    if sight := look(request, "video"):
        notes += _check_video(request, sight)
    for index, picture in enumerate(options.references):
        with naming(request, f"references.{index}"):
            notes += look_at_picture(picture).notes
    return notes


NOTHING_GIVEN = "feature vace is given neither a video nor references: it leads nowhere"


def spans(options: VaceOptions, steps: int) -> list[tuple[float, StepRange]]:
    """The strengths above 0, each with the part of a run of so many steps for which it holds."""
    given, found = options.strength, []
    first = 0
    leads = [options.start <= step / steps < options.end for step in range(steps)]
    strengths = [given[min(step, len(given) - 1)] if leads[step] else 0.0 for step in range(steps)]
    for step in range(1, steps + 1):
        if step == steps or strengths[step] != strengths[first]:
            if strengths[first] > 0:
                found.append((strengths[first], StepRange(first / steps, step / steps)))
            first = step
    return found


def _check_steps(request: FeatureCheck, options: VaceOptions) -> None:
    if options.start >= options.end:
        raise WorkflowError(
            f"start {options.start:g} and end {options.end:g} leave no part of the run",
            where=request.where("start" if options.start else "end"),
            remedy="use a start below the end",
        )
    steps = request.steps
    if steps is None:
        return
    if len(options.strength) > steps:
        raise WorkflowError(
            f"strength has {len(options.strength)} numbers for {steps} step{'s' * (steps != 1)}",
            where=request.where("strength"),
            remedy="give one for each step at most",
        )
    always = attrs.evolve(options, strength=(1.0,))
    if not spans(always, steps):
        raise WorkflowError(
            f"none of the {steps} steps begins between start {options.start:g} and end {options.end:g} of "
            "the run",
            where=request.where("start" if options.start else "end"),
            remedy="use a longer part",
        )


def _check_video(request: FeatureCheck, sight: Sight) -> list[str]:
    options, size = request.options, request.size
    there, step = sight.frames, request.family.preset.frame_step
    if there is not None and there < size.frames:
        with naming(request, "video"):
            raise MediaError(
                f"video has {there} frames at {size.fps:g} per second, the stage makes {size.frames}",
                remedy=f"set frames = {(there - 1) // step * step + 1}, or use a longer video",
            )
    if options.mask is not None:
        look_at_mask(request, options.mask, sight.size, size.frames)
    notes = list(sight.notes)
    if not nearly(sight.size, (size.width, size.height)):
        notes.append(
            f"video of feature vace is {sight.size[0]}x{sight.size[1]}, the stage makes "
            f"{size.width}x{size.height}: it is cut to these proportions"
        )
    return notes
