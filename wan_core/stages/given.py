"""What a stage is given to start from, at planning: checked, and what follows from it filled in. No torch."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from wan_core.contract.descriptions import Family, Pictures
from wan_core.contract.errors import WorkflowError
from wan_core.contract.requests import PlanContext
from wan_core.media import area_size, best_size
from wan_core.stages.options import MOST_PIXELS, GenerateOptions, SamplingOptions
from wan_core.stages.sights import PICTURES, Sight, Size, by, look, look_at_mask, naming, nearly

Options = TypeVar("Options", bound=SamplingOptions)

STRENGTH = 0.7
"""Of video to video where the user says nothing; with a mask everything in it is made anew."""

ONLY_WITH = {"overlap": "continues", "strength": "video", "mask": "video", "video_start": "video"}
"""Options that say something about another one."""


def fill_given(context: PlanContext) -> tuple[GenerateOptions, list[str], dict[str, Size]]:
    """The options with size, number of frames, overlap and strength filled in, notes for the user, and how
    large what is given is itself.

    Options that nothing given has to do with stay as they are.

    Raises:
        WorkflowError: the family takes no such thing, or needs one that is missing.
        MediaError: a file is not what it should be.
    """
    options: GenerateOptions = context.options
    assert context.family is not None, "the stage has a model"
    _check_together(context, options, context.family)
    sights = {name: sight for name in _GIVEN if (sight := look(context, name))}
    notes = [note for sight in sights.values() for note in sight.notes]
    options = _with_size(context, options, context.family, sights)
    options, more = _with_frames(context, options, context.family, sights)
    notes += more + _untrained(options, context.family)
    assert options.width and options.height
    size = (options.width, options.height)
    notes += [
        f"{name} is {by(sights[name].size)}, the video {by(size)}: it is cut to these proportions"
        for name in ("image", "last_image")
        if name in sights and not nearly(sights[name].size, size)
    ]
    if options.mask is not None:
        assert options.frames
        look_at_mask(context, options.mask, sights["video"].size, options.frames)
    return options, notes, {name: sight.size for name, sight in sights.items()}


_GIVEN = (*PICTURES, "continues", "video")


def _check_together(context: PlanContext, options: GenerateOptions, family: Family) -> None:
    asked = [name for name in _GIVEN[:-1] if getattr(options, name) is not None]
    taken = family.pictures or Pictures("", takes=())
    for name in asked:
        if name not in taken.takes:
            raise WorkflowError(
                f"family {family.name} takes no {name}",
                where=context.where(name),
                remedy="of these it takes " + ", ".join(taken.takes)
                if taken.takes
                else "choose an image-to-video family (wan-core models lists them)",
            )
    if {"image", "continues"} <= set(asked):
        raise WorkflowError(
            "image and continues both say how the video begins",
            where=context.where("continues"),
            remedy="leave one of them out",
        )
    for name in taken.needs:
        if name not in asked and not (name == "image" and "continues" in asked):
            raise WorkflowError(
                f"family {family.name} needs {name}",
                where=context.where("use"),
                remedy=f'add {name} = "FILE"',
            )
    for name, other in ONLY_WITH.items():
        if getattr(options, name) not in (None, 0.0) and getattr(options, other) is None:
            raise WorkflowError(
                f"{name} is said of {other}, and there is none",
                where=context.where(name),
                remedy=f'add {other} = "FILE", or leave {name} out',
            )


def _with_size(
    context: PlanContext, options: GenerateOptions, family: Family, sights: dict[str, Sight]
) -> GenerateOptions:
    """What is given first says what the video's proportions are; numbers that the user says hold."""
    name = next((name for name in ("image", "continues", "video") if name in sights), "")
    if not name:
        preset = family.preset
        return attrs.evolve(
            options,
            width=preset.width if options.width is None else options.width,
            height=preset.height if options.height is None else options.height,
        )
    return sized_like(context, options, name, sights[name].size)


def sized_like(context: PlanContext, options: Options, name: str, own: Size) -> Options:
    """The options with a size in the proportions of what is given; numbers that the user says hold.

    A video is made as large as it is, where the family can make that and it is no larger than the preset's or
    is made by an earlier stage; anything else as large as the preset's.

    Args:
        name: the option that gives it.
        own: its width and height.

    Raises:
        WorkflowError, MediaError: no size has these proportions.
    """
    assert context.family is not None, "the stage has a model"
    family, preset = context.family, context.family.preset
    if options.width is not None and options.height is not None:
        return options
    width, height = own
    multiple = preset.size_multiple
    if options.width is not None or options.height is not None:
        one = options.width or options.height or 0
        ratio = height / width if options.width else width / height
        other = max(multiple, round(one * ratio / multiple) * multiple)
        said, follows = ("width", "height") if options.width else ("height", "width")
        if other > MOST_PIXELS:
            raise WorkflowError(
                f"{follows} would be {other}, because {name} is {by(own)}; the most is "
                f"{MOST_PIXELS}",
                where=context.where(said),
                remedy=f"say {follows}, too",
            )
        changes: dict[str, Any] = {follows: other}
        return attrs.evolve(options, **changes)
    area = preset.width * preset.height
    made_here = isinstance(getattr(options, name), str)
    if name != "image" or made_here:
        fits = not width % multiple and not height % multiple
        if fits and (made_here or width * height <= area):
            return attrs.evolve(options, width=width, height=height)
        # no larger than it is, but a whole patch
        area = max(min(area, width * height), multiple**2)
    rule = best_size if family.pictures and family.pictures.size == "best" else area_size
    with naming(context, name):
        found = rule(width, height, area, multiple)
    return attrs.evolve(options, width=found[0], height=found[1])


def _with_frames(
    context: PlanContext, options: GenerateOptions, family: Family, sights: dict[str, Sight]
) -> tuple[GenerateOptions, list[str]]:
    """Number of frames, overlap and strength: what is given has to be long enough for them."""
    preset, notes = family.preset, []
    step = preset.frame_step
    frames = options.frames
    if "video" in sights and (there := sights["video"].frames):
        whole = (there - 1) // step * step + 1
        if frames is None:
            frames = min(whole, preset.frames)
            if frames < there:
                first = f"first {frames} are" if frames > 1 else "first is"
                notes.append(f"of the {there} frames of video the {first} used")
        elif frames > there:
            has = (
                f"has {there} frames at {preset.fps:g} per second" if there > 1 else "is one frame"
            )
            raise WorkflowError(
                f"video {has}, not {frames}",
                where=context.where("frames"),
                remedy=f"use {whole}, or a longer video",
            )
    frames = preset.frames if frames is None else frames
    if frames == 1 and {"image", "last_image"} <= sights.keys():
        raise WorkflowError(
            "a video of one frame can't begin with image and end with last_image",
            where=context.where("frames"),
            remedy="use more frames, or leave last_image out",
        )
    changes: dict[str, Any] = {"frames": frames}
    if "continues" in sights:
        assert family.pictures is not None
        there = sights["continues"].frames or 1
        overlap = options.overlap
        if overlap is None:
            overlap = min(family.pictures.overlap, (there - 1) // step * step + 1)
        if (overlap - 1) % step:
            below = (overlap - 1) // step * step + 1
            raise WorkflowError(
                f"an overlap of {overlap} frames can't be made: it must be {step} * n + 1",
                where=context.where("overlap"),
                remedy=f"use {below} or {below + step}",
            )
        if overlap > there or overlap >= frames:
            whose, count = (
                ("the continued video", there) if overlap > there else ("this video", frames)
            )
            raise WorkflowError(
                f"the overlap is {overlap} frames, {whose} has {count}",
                where=context.where("overlap" if options.overlap else "frames"),
                remedy="use a smaller overlap" + ("" if overlap > there else ", or more frames"),
            )
        changes["overlap"] = overlap
    if options.video is not None and options.strength is None:
        whole_run = options.mask is not None or options.start_step > 0
        changes["strength"] = 1.0 if whole_run else STRENGTH
    return attrs.evolve(options, **changes), notes


def _untrained(options: GenerateOptions, family: Family) -> list[str]:
    pictures = family.pictures
    if pictures is None:
        return []
    notes = [
        f"{family.name} was not trained with {name}: expect weaker results"
        for name in pictures.untrained
        if getattr(options, name) is not None
    ]
    if options.overlap and options.overlap > pictures.overlap:
        notes.append(
            f"{family.name} was trained with an overlap of {pictures.overlap}, not {options.overlap}: "
            "expect weaker results"
        )
    return notes
