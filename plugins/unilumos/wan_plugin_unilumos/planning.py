"""Planning of the stage ``unilumos``: words, sizes, frames, files. Imports no torch."""

from __future__ import annotations

import math

import attrs

from wan_core.contract import PlanContext, Preset, StageNeeds, WorkflowError
from wan_core.stages import naming, plan_sampling, sized_like
from wan_plugin_unilumos.choosing import Pick
from wan_plugin_unilumos.looking import Clip, check_subject, look, pick_of
from wan_plugin_unilumos.options import RelightOptions
from wan_plugin_unilumos.words import ATTRIBUTES, composed

LED_BY = ("video", "background")
"""Options that give frames, the one first that says how large and long the video is."""
VAE = "vae"
GREY = "grey"
"""What is encoded in place of one that is missing."""

ALIKE = 0.08
"""Share by which proportions may differ from the preset's before a size of their own is taken."""

NOTHING_GIVEN = "nothing is given to be lit anew: the video is made from the words alone"
NO_WORDS = "neither a prompt nor an attribute of light says how the video is to be lit"
NO_MASK = (
    "background without a mask: what it shows where the subject is counts as surroundings, too; name a mask, "
    "in which the subject is white"
)


def plan(context: PlanContext) -> StageNeeds:
    """Fill in what follows from what is given, and check everything that can be checked.

    Raises:
        WorkflowError: options that don't go together, or frames that are not there.
        MediaError: a file is not what it should be.
    """
    options: RelightOptions = context.options
    assert context.family is not None, "the stage has a model"
    _check_together(context, options)
    clips = {name: clip for name in LED_BY if (clip := look(context, name))}
    leading = next(iter(clips.values()), None)
    notes = [note for clip in clips.values() for note in clip.notes] + _notes(options, clips)
    fps = _rate(options, leading, context.family.preset)
    options = _with_frames(context, options, leading, fps, notes)
    if leading:
        options = _with_size(context, options, leading, context.family.preset)
    picks = {
        name: pick_of(context, clip, options.frame_choice, fps, options.frames)
        for name, clip in clips.items()
    }
    if leading and options.mask is not None:
        check_subject(context, options, leading, picks[leading.option])
    notes += _held(options, clips, picks)
    encodes = dict.fromkeys(tasks(options), options.frames or context.family.preset.frames)
    needs = plan_sampling(context, options, notes, prompt=words_of(options), encodes=encodes)
    assert needs.size is not None
    return attrs.evolve(
        needs,
        size=attrs.evolve(needs.size, fps=fps),
        planned=picks,
        pictures={name: clip.size for name, clip in clips.items()},
        gives_latents={"video": VAE},
        takes_latents=_taken(options, clips),
    )


def words_of(options: RelightOptions) -> str:
    """What the text encoder is told."""
    return composed(
        options.prompt, {one.option: getattr(options, one.option) for one in ATTRIBUTES}
    )


def _check_together(context: PlanContext, options: RelightOptions) -> None:
    if options.mask is not None and options.background is None:
        raise WorkflowError(
            "mask says where the subject is in the background, and there is no background",
            where=context.where("mask"),
            remedy='add background = "FILE", or leave mask out',
        )
    if options.frames is not None and options.duration is not None:
        raise WorkflowError(
            "frames and duration both say how long the video is",
            where=context.where("duration"),
            remedy="leave one of them out",
        )
    if options.frame_choice is not None and options.video is None and options.background is None:
        raise WorkflowError(
            "frame_choice says which frames of a video are taken, and none is given",
            where=context.where("frame_choice"),
            remedy='add video = "FILE", or leave frame_choice out',
        )


def _rate(options: RelightOptions, leading: Clip | None, preset: Preset) -> float:
    """Frames per second of the video."""
    if leading and leading.fps and leading.choice(options.frame_choice) == "own":
        return leading.fps
    return preset.fps


def _with_frames(
    context: PlanContext,
    options: RelightOptions,
    leading: Clip | None,
    fps: float,
    notes: list[str],
) -> RelightOptions:
    assert context.family is not None
    preset = context.family.preset

    def whole(count: int) -> int:
        return (count - 1) // preset.frame_step * preset.frame_step + 1

    if options.duration is not None:
        said = int(options.duration * fps) + 1
        frames = whole(said)
        if frames != said:
            notes.append(
                f"{options.duration:g} seconds are {said} frames: {frames} are made, "
                f"{preset.frame_step} * n + 1"
            )
        with naming(context, "duration"):
            options = attrs.evolve(options, frames=frames, duration=None)
    if leading is None:
        return options
    pick = pick_of(context, leading, options.frame_choice, fps, options.frames)
    there = pick.frames
    if options.frames is None:
        if leading.frames is None:
            frames = 1 if leading.option == "video" else preset.frames
        elif there is None:
            frames = preset.frames
        else:
            longest = whole(there)
            frames = longest if leading.made else min(longest, preset.frames)
            if frames < there:
                first = f"first {frames} are" if frames > 1 else "first is"
                notes.append(f"of the {there} frames of {leading.option} the {first} used")
        return attrs.evolve(options, frames=frames)
    if leading.option == "video" and there is not None and options.frames > there:
        raise WorkflowError(
            f"video has {there} frame{'s' * (there != 1)} at {fps:g} per second, not {options.frames}",
            where=context.where("frames" if context.options.frames is not None else "duration"),
            remedy=f'use {whole(there)} frames, a longer video, or frame_choice = "upstream", which '
            "repeats frames",
        )
    return options


def _with_size(
    context: PlanContext, options: RelightOptions, leading: Clip, preset: Preset
) -> RelightOptions:
    """The preset's size where the proportions are nearly its own and there are pixels enough."""
    width, height = leading.size
    alike = abs(math.log(width * preset.height / (height * preset.width))) <= ALIKE
    if (
        alike
        and not leading.made
        and options.width is None
        and options.height is None
        and width * height >= preset.width * preset.height
    ):
        return attrs.evolve(options, width=preset.width, height=preset.height)
    return sized_like(context, options, leading.option, leading.size)


def _notes(options: RelightOptions, clips: dict[str, Clip]) -> list[str]:
    notes = []
    if not clips:
        notes.append(NOTHING_GIVEN)
    said = [one for one in ATTRIBUTES if getattr(options, one.option) is not None]
    if not options.prompt.strip() and not said:
        notes.append(NO_WORDS)
    if said and len(said) < len(ATTRIBUTES):
        rest = ", ".join(
            f"{one.title}: {one.plain}"
            for one in ATTRIBUTES
            if getattr(options, one.option) is None
        )
        notes.append(f"the attributes of light that are left out are said as {rest}")
    if "video" in clips and "background" in clips and options.mask is None:
        notes.append(NO_MASK)
    return notes


def _held(options: RelightOptions, clips: dict[str, Clip], picks: dict[str, Pick]) -> list[str]:
    """What is shorter than the video."""
    frames = options.frames or 0
    notes = []
    for name, clip in clips.items():
        there = picks[name].frames
        if clip.frames is None and name == "video" and frames > 1:
            notes.append(f"video is a picture: it is shown for all {frames} frames")
        elif there is not None and there < frames:
            notes.append(
                f"{name} has {there} frame{'s' * (there != 1)}, the video {frames}: its last one is held"
            )
    return notes


def _taken(options: RelightOptions, clips: dict[str, Clip]) -> dict[str, str]:
    """Videos of earlier stages of which every frame is encoded as it is."""
    masked = {"background"} if options.mask is not None else set()
    return {
        name: VAE
        for name, clip in clips.items()
        if clip.made and clip.choice(options.frame_choice) == "own" and name not in masked
    }


def tasks(options: RelightOptions) -> list[str]:
    """What is encoded, in the order of a run."""
    given = [name for name in LED_BY if getattr(options, name) is not None]
    grey = len(given) < len(LED_BY) and options.missing == "grey"
    return [f"encoding {name}" for name in (*given, *[GREY] * grey)]
