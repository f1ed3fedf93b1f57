"""What a stage is given to start from, at planning: checked, and what follows from it filled in. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Family, Pictures
from wan_core.contract.errors import WanCoreError, WorkflowError
from wan_core.contract.requests import FeatureCheck, PlanContext
from wan_core.media import (
    Part,
    area_size,
    best_size,
    check_mask,
    is_still,
    probe_clip,
    probe_still,
)
from wan_core.stages.options import GenerateOptions

Size = tuple[int, int]

STRENGTH = 0.7
"""Of video to video where the user says nothing; with a mask everything in it is made anew."""

ROUNDING = 0.08
"""Share by which proportions may differ before a picture is cut to them, not stretched."""

ONLY_WITH = {"overlap": "continues", "strength": "video", "mask": "video", "video_start": "video"}
"""Options that say something about another one."""


@attrs.frozen
class Sight:
    """What is known of a picture or video before it is read; ``frames`` None = not known."""

    size: Size
    frames: int | None = 1
    notes: tuple[str, ...] = ()


def fill_given(context: PlanContext) -> tuple[GenerateOptions, list[str]]:
    """The options with size, number of frames, overlap and strength filled in, and notes for the user.

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
        f"{name} is {_by(sights[name].size)}, the video {_by(size)}: it is cut to these proportions"
        for name in ("image", "last_image")
        if name in sights and not nearly(sights[name].size, size)
    ]
    if options.mask is not None:
        assert options.frames
        with naming(context, "mask"):
            check_mask(options.mask, sights["video"].size, options.frames)
    return options, notes


_GIVEN = ("image", "last_image", "continues", "video")


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


def look(context: PlanContext | FeatureCheck, name: str) -> Sight | None:
    """What the picture or video of an option is; None when the option is not given.

    Raises:
        WanCoreError: it can't be read, or has no size that is known.
    """
    value = getattr(context.options, name)
    if value is None:
        return None
    with naming(context, name):
        if isinstance(value, str):
            return _earlier(context, name, value)
        if name in ("image", "last_image"):
            still = probe_still(value)
            return Sight((still.width, still.height), notes=still.notes)
        return _clip(context, name, value)


def _earlier(context: PlanContext | FeatureCheck, name: str, value: str) -> Sight:
    made = context.inputs.get(value)
    if made is None:
        raise WorkflowError(
            f"{value} has no size that is known before it is made",
            where=context.where(name),
            remedy="refer to a stage that makes a video",
        )
    assert context.family is not None
    notes = []
    if made.fps != context.family.preset.fps:
        notes.append(
            f"{value} has {made.fps:g} frames per second, the family makes "
            f"{context.family.preset.fps:g}: its frames are taken as they are"
        )
    if name == "video" and context.options.video_start:
        raise WorkflowError(
            f"video_start is for files, and {value} is made by a stage",
            where=context.where("video_start"),
            remedy="leave it out",
        )
    return Sight((made.width, made.height), made.frames, tuple(notes))


def _clip(context: PlanContext | FeatureCheck, name: str, path: Path) -> Sight:
    assert context.family is not None
    if is_still(path):
        still = probe_still(path)
        return Sight((still.width, still.height), 1, still.notes)
    clip = probe_clip(path, part_of(name, context.options, context.family.preset.fps))
    return Sight((clip.width, clip.height), clip.frames, clip.notes)


def part_of(name: str, options: Any, fps: float) -> Part:
    """Which frames of the file in option ``name`` count: at the family's rate, from ``video_start`` on."""
    start = options.video_start if name == "video" else 0
    return Part(start=start or None, fps=fps)


def _with_size(
    context: PlanContext, options: GenerateOptions, family: Family, sights: dict[str, Sight]
) -> GenerateOptions:
    """What is given first says what the video's proportions are; numbers that the user says hold."""
    preset = family.preset
    name = next((name for name in ("image", "continues", "video") if name in sights), "")
    if not name or (options.width is not None and options.height is not None):
        return attrs.evolve(
            options,
            width=preset.width if options.width is None else options.width,
            height=preset.height if options.height is None else options.height,
        )
    width, height = sights[name].size
    multiple = preset.size_multiple
    if options.width is not None or options.height is not None:
        one = options.width or options.height or 0
        ratio = height / width if options.width else width / height
        other = max(multiple, round(one * ratio / multiple) * multiple)
        if options.width is not None:
            return attrs.evolve(options, height=other)
        return attrs.evolve(options, width=other)
    area = preset.width * preset.height
    if name != "image":
        made_here = isinstance(getattr(options, name), str)
        fits = not width % multiple and not height % multiple
        if fits and (made_here or width * height <= area):
            return attrs.evolve(options, width=width, height=height)
        area = min(area, width * height)
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
                notes.append(f"of the {there} frames of video the first {frames} are used")
        elif frames > there:
            raise WorkflowError(
                f"video has {there} frames at {preset.fps:g} per second, not {frames}",
                where=context.where("frames"),
                remedy=f"use {whole}, or a longer video",
            )
    frames = preset.frames if frames is None else frames
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
                where=context.where("overlap" if options.overlap else "continues"),
                remedy="use a smaller overlap",
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


def nearly(one: Size, other: Size) -> bool:
    """Whether the proportions differ by no more than rounding to whole patches may cost."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= ROUNDING


@contextmanager
def naming(context: PlanContext | FeatureCheck, option: str) -> Iterator[None]:
    """Errors name the place of the option beside that of the file."""
    try:
        yield
    except WanCoreError as error:
        place = context.where(option)
        error.where = ", ".join(dict.fromkeys(filter(None, (place, error.where))))
        raise


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
