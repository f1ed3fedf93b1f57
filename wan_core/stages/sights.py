"""What a stage is given to start from, looked at while planning: sizes, lengths, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WanCoreError, WorkflowError
from wan_core.contract.options import show
from wan_core.contract.requests import FeatureCheck, PlanContext
from wan_core.media import (
    Masking,
    Part,
    check_mask,
    is_still,
    probe,
    probe_clip,
    read_still,
)

Size = tuple[int, int]
Asker = PlanContext | FeatureCheck
"""Whose options name what is looked at: a stage's or a feature's."""

PICTURES = ("image", "last_image")

ROUNDING = 0.08
"""Share by which proportions may differ before a picture is cut to them, not stretched."""


@attrs.frozen
class Sight:
    """What is known of a picture or video before it is read; ``frames`` None = not known."""

    size: Size
    frames: int | None = 1
    notes: tuple[str, ...] = ()


def look(context: Asker, name: str) -> Sight | None:
    """What is given under the option ``name``, if anything is.

    Raises:
        WorkflowError: it is none of a file and what an earlier stage makes, or its size is not known.
        MediaError: the file is not what it should be.
    """
    value = getattr(context.options, name)
    if value is None:
        return None
    if isinstance(value, str):
        return _earlier(context, name, value)
    _check_no_stage(context, name, value)
    with naming(context, name):
        return look_at_picture(value) if name in PICTURES else _clip(context, name, value)


def _check_no_stage(context: Asker, name: str, path: Path) -> None:
    """A path that is no file, and looks like what an earlier stage makes."""
    made = {key.partition(".")[0]: key for key in context.inputs}
    stage = path.name.partition(".")[0]
    if path.parent != context.folder or stage not in made or os.path.lexists(path):
        return
    takes = name != "mask"
    raise WorkflowError(
        f"{name} names no file, and nothing that the stage {show(stage)} makes"
        if takes
        else f"{name} has to be a file, not what a stage makes",
        where=context.where(name),
        remedy=f"write {show(made[stage])}" if takes else "name a file",
    )


def look_at_picture(path: Path) -> Sight:
    """A picture, read whole, so that a damaged one is found here and not after weights have been loaded.

    Raises:
        MediaError: it is none, or damaged.
    """
    stamp = (found.st_mtime_ns, found.st_size) if (found := _status(path)) else None
    return _read_whole(path, stamp)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@lru_cache(maxsize=16)
def _read_whole(path: Path, _: object) -> Sight:
    """The runs of a sweep look at the same pictures."""
    still = read_still(path)
    height, width = still.pixels.shape[:2]
    return Sight((width, height), notes=still.notes)


def look_at_mask(context: Asker, path: Path, size: Size, frames: int) -> None:
    """Refuse a mask that can't be one for a video of that size and so many frames.

    Raises:
        WorkflowError, MediaError: as for :func:`look`; it is of other proportions, or too short.
    """
    assert context.family is not None
    _check_no_stage(context, "mask", path)
    with naming(context, "mask"):
        masking = masking_of(context.options, context.family.preset.fps)
        check_mask(path, size, frames, attrs.evolve(masking, fitted="refuse"))
        if is_still(path):
            look_at_picture(path)


def _earlier(context: Asker, name: str, value: str) -> Sight:
    made = context.inputs.get(value)
    if made is None:
        raise WorkflowError(
            f"{value} has no size that is known before it is made",
            where=context.where(name),
            remedy="refer to a stage that makes a video",
        )
    if name in PICTURES:
        return Sight((made.width, made.height))
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


def _clip(context: Asker, name: str, path: Path) -> Sight:
    assert context.family is not None
    if is_still(path):
        return look_at_picture(path)
    clip = probe_clip(path, part_of(name, context.options, context.family.preset.fps))
    return Sight((clip.width, clip.height), clip.frames, clip.notes)


def part_of(name: str, options: Any, fps: float) -> Part:
    """Which frames of the file in option ``name`` count: at the family's rate, from ``video_start`` on.

    Numbered pictures that say no rate are taken as they are.
    """
    path: Path = getattr(options, name)
    start = 0.0 if name == "continues" else getattr(options, "video_start", 0.0)
    if (path.is_dir() or path.suffix.lower() == ".png") and not probe(path).fps:
        return Part(first=round(start * fps) or None)
    return Part(start=start or None, fps=fps)


def masking_of(options: Any, fps: float) -> Masking:
    """How the mask is read: as the video that it belongs to, at the same times and cut in the same way."""
    moves = not is_still(options.mask)
    timed = moves and isinstance(options.video, Path)
    return Masking(fitted="cover", part=part_of("mask", options, fps) if timed else Part())


def nearly(one: Size, other: Size) -> bool:
    """Whether the proportions differ by no more than rounding to whole patches may cost."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= ROUNDING


@contextmanager
def naming(context: Asker, option: str) -> Iterator[None]:
    """Errors name the place of the option beside that of the file."""
    try:
        yield
    except WanCoreError as error:
        error.place(context.where(option))
        raise


def by(size: Size) -> str:
    """``96x64``."""
    return f"{size[0]}x{size[1]}"
