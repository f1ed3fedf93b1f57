"""Pictures, videos and masks that a stage is given, read and brought to the size of what it makes."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wan_core.contract.descriptions import Pictures
from wan_core.contract.errors import MediaError
from wan_core.contract.requests import ConditioningRequest, GivenFrames, StageContext, VideoSize
from wan_core.media import (
    fit,
    fit_signed,
    is_still,
    read_clip,
    read_masks,
    read_still,
    signed,
)
from wan_core.stages.sights import PICTURES, masking_of, nearly, part_of

Levels = NDArray[np.float32]
Frame = NDArray[np.uint8] | Levels
Given = StageContext | ConditioningRequest
"""Whose options name a video: a stage's or a feature's."""


def given_frames(context: StageContext, size: VideoSize) -> tuple[GivenFrames, ...]:
    """The frames that the video begins and ends with."""
    options = context.options
    rules = context.family.pictures if context.family else None
    if rules is None:
        return ()
    given = []
    if options.image is not None:
        given.append(_picture(context, "image", 0, size, rules))
    if options.continues is not None:
        given.append(_continued(context, size))
    if options.last_image is not None:
        given.append(_picture(context, "last_image", size.frames - 1, size, rules))
    return tuple(given)


def _picture(
    context: StageContext, name: str, start: int, size: VideoSize, rules: Pictures
) -> GivenFrames:
    """A picture of a file, or the first frame of what an earlier stage makes: no more of that is decoded."""
    with closing(_frames(context, name)) as frames:
        frame = next(frames, None)
    if frame is None:
        raise _too_short(context, name, 0, 1)
    pixels = _pixels(frame)
    height, width = pixels.shape[:2]
    if frame.dtype != np.uint8 and (width, height) == (size.width, size.height):
        return GivenFrames(name, start, _tensor(_levels(frame))[:, None], pixels)
    mode = rules.fit if nearly((width, height), (size.width, size.height)) else "cover"
    levels = fit_signed(pixels, size.width, size.height, mode, kernel=rules.kernel)
    return GivenFrames(name, start, _tensor(levels)[:, None], pixels)


def _continued(context: StageContext, size: VideoSize) -> GivenFrames:
    """The last frames of another video; no more of them are ever held."""
    frames = deque(_frames(context, "continues"), maxlen=context.options.overlap)
    if len(frames) < context.options.overlap:
        raise _too_short(context, "continues", len(frames), context.options.overlap)
    fitted = [_fitted(frame, size) for frame in frames]
    return GivenFrames("continues", 0, torch.stack(fitted, dim=1), _pixels(frames[-1]))


def given_video(context: Given, size: VideoSize, name: str = "video") -> Iterator[Tensor]:
    """The frames of the video that the option ``name`` gives, ``[1, 3, 1, height, width]`` each."""
    count = 0
    for frame in islice(_frames(context, name), size.frames):
        yield _fitted(frame, size)[None, :, None]
        count += 1
    if count < size.frames:
        raise _too_short(context, name, count, size.frames)


def on_white(path: Path, size: VideoSize) -> Tensor:
    """A whole picture in the middle of white, ``[3, 1, height, width]`` in -1…1."""
    pixels = read_still(path).pixels
    levels = fit_signed(
        pixels, size.width, size.height, "contain", kernel="bilinear", background=1.0
    )
    return _tensor(levels)[:, None]


def mask_of_latents(context: StageContext, size: VideoSize, stride: tuple[int, int, int]) -> Tensor:
    """What is made anew, for latents: a latent takes the largest value among the pixels that it stands for.

    Returns:
        ``[1, 1, latent frames, latent height, latent width]`` in 0…1.
    """
    time, down, across = stride
    parts: list[Tensor] = []
    assert context.family is not None
    masking = masking_of(context.options, context.family.preset.fps)
    masks = read_masks(context.options.mask, (size.width, size.height), size.frames, masking)
    for index, mask in enumerate(masks):
        small = F.max_pool2d(torch.from_numpy(mask), (down, across))
        if index == 0 or (index - 1) % time == 0:
            parts.append(small)
        else:
            parts[-1] = torch.maximum(parts[-1], small)
    return torch.stack(parts, dim=1)[None]


def _frames(context: Given, name: str) -> Generator[Frame, None, None]:
    """``[height, width, 3]`` each, at their own size: uint8 of files, float32 in -1…1 of earlier stages."""
    value = getattr(context.options, name)
    assert context.family is not None
    if isinstance(value, str):
        for chunk in context.inputs[value]:
            yield from chunk.float().permute(0, 2, 3, 1).numpy()
    elif name in PICTURES or is_still(value):
        yield read_still(value).pixels
    else:
        for chunk in read_clip(value, part_of(name, context.options, context.family.preset.fps)):
            yield from chunk


def _levels(frame: Frame) -> Levels:
    """In -1…1."""
    return signed(frame) if frame.dtype == np.uint8 else frame.astype(np.float32, copy=False)


def _pixels(frame: Frame) -> NDArray[np.uint8]:
    """In 0…255."""
    if frame.dtype == np.uint8:
        return frame.astype(np.uint8, copy=False)
    levels: NDArray[np.uint8] = np.rint((frame + 1) * 127.5).clip(0, 255).astype(np.uint8)
    return levels


def _fitted(frame: Frame, size: VideoSize) -> Tensor:
    levels = _levels(frame)
    if levels.shape[:2] != (size.height, size.width):
        levels = fit(levels, size.width, size.height, "cover", kernel="bicubic", antialias=True)
    return _tensor(levels)


def _tensor(levels: Levels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))


def _too_short(context: Given, name: str, found: int, wanted: int) -> MediaError:
    return MediaError(
        f"{name} has {found} frames, not {wanted}",
        where=str(getattr(context.options, name)),
        remedy="use a longer video, or ask for fewer frames",
    )
