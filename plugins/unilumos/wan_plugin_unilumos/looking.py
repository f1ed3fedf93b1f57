"""What the stage is given, looked at while planning: how large and long it is, and which frames are taken.

Imports no torch.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from wan_core.contract import PlanContext, WorkflowError
from wan_core.media import Masking, Part, check_mask, is_still, probe, probe_clip
from wan_core.stages import look_at_picture, naming
from wan_plugin_unilumos.choosing import Pick, at_rate, frame_indices

Choice = Literal["own", "rate", "upstream"]

SUBJECT = 127.5 / 255
"""What is above it in a mask is the subject: levels from 128 on."""


@attrs.frozen
class Clip:
    """A picture or video.

    Attributes:
        option: that gives it.
        size: its own width and height.
        frames: that it has; None = it is a picture.
        fps: frames per second; 0 = it does not say.
        made: an earlier stage makes it.
        notes: for the user.
    """

    option: str
    size: tuple[int, int]
    frames: int | None
    fps: float
    made: bool = False
    notes: tuple[str, ...] = ()

    def choice(self, asked: str | None) -> str:
        """How its frames are chosen."""
        if self.frames is None or not self.fps:
            return "own"
        return asked or ("own" if self.made else "rate")


def look(context: PlanContext, option: str) -> Clip | None:
    """What is given under an option, if anything is.

    Raises:
        WorkflowError: it is made by a stage that does not say how large.
        MediaError: the file is not what it should be.
    """
    value = getattr(context.options, option)
    if value is None:
        return None
    if isinstance(value, str):
        made = context.inputs.get(value)
        if made is None:
            raise WorkflowError(
                f"{value} has no size that is known before it is made",
                where=context.where(option),
                remedy="refer to a stage that makes a video",
            )
        return Clip(option, (made.width, made.height), made.frames, made.fps, made=True)
    with naming(context, option):
        if is_still(value):
            still = look_at_picture(value)
            return Clip(option, still.size, None, 0, notes=still.notes)
        info = probe_clip(value)
        # what a file says is not rounded by its clock; numbered pictures say nothing
        stated = probe(value).fps
        fps = float(stated if info.steady else info.fps) if stated else 0.0
        size = (info.width, info.height)
        return Clip(option, size, info.source_frames, fps, notes=info.notes)


def pick_of(
    context: PlanContext, clip: Clip, asked: str | None, fps: float, frames: int | None
) -> Pick:
    """Which frames of it are taken for a video of so many frames a second.

    Args:
        asked: the option ``frame_choice``.
        frames: how many the video has, where that is known; the makers' rule depends on it.
    """
    if clip.frames is None:
        return Pick()
    match clip.choice(asked):
        case "upstream":
            if frames is None:
                return Pick()
            indices = frame_indices(clip.frames, clip.fps, frames, fps)
            return Pick(indices=indices, frames=frames)
        case "rate" if clip.made:
            indices = at_rate(clip.frames, clip.fps, fps)
            return Pick(indices=indices, frames=len(indices))
        case "rate":
            part = Part(fps=fps)
            with naming(context, clip.option):
                there = probe_clip(getattr(context.options, clip.option), part).frames
            return Pick(part, frames=there)
    return Pick(frames=clip.frames)


def check_subject(context: PlanContext, options: Any, leading: Clip, pick: Pick) -> None:
    """Refuse a mask that can't be one for the frames that are taken.

    Args:
        leading: what the mask is of.
        pick: which of its frames are taken.

    Raises:
        MediaError: it is neither picture nor video, of other proportions, or too short.
    """
    last = max(pick.indices) + 1 if pick.indices else options.frames
    with naming(context, "mask"):
        check_mask(options.mask, leading.size, last, masking(pick))
        if is_still(options.mask):
            look_at_picture(options.mask)


def masking(pick: Pick) -> Masking:
    """How a mask is read: as the video that it belongs to."""
    return Masking(threshold=SUBJECT, part=pick.part)
