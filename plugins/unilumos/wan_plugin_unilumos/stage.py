"""What the stage ``unilumos`` runs: foreground and background beside the latents, in every step and branch.

Source: alibaba-damo-academy/Lumos-Custom, ``src/models/wanx/core_model.py`` and ``unilumos_infer_*.py``. The
makers' script for pictures leaves the picture out by mistake; here a picture is a video of one frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat

import attrs
import numpy as np
import torch
from torch import Tensor

from wan_core.contract import ChunkSource, Conditioning, StageContext, Timed, sliced
from wan_core.media import is_still, read_clip, read_masks, read_still
from wan_core.stages import LatentVideo, encode_video, sampled, text_conditioning
from wan_plugin_unilumos.choosing import held, picked
from wan_plugin_unilumos.fitting import Levels, fitted_frame, fitted_picture
from wan_plugin_unilumos.looking import masking
from wan_plugin_unilumos.options import RelightOptions
from wan_plugin_unilumos.planning import GREY, LED_BY, words_of
from wan_plugin_unilumos.silhouette import filled

VIDEO = "video"


def run(context: StageContext) -> Mapping[str, ChunkSource]:
    """Sample latents beside the foreground and the background, and hand out a source that decodes them."""

    def tell(shape: tuple[int, ...]) -> Conditioning:
        told = text_conditioning(context, words_of(context.options))
        return beside(told, *given(context, shape))

    latents = sampled(context, tell)
    assert context.components is not None
    video = LatentVideo(context.components, latents, context.emit)
    return {VIDEO: context.post_process(video)}


def beside(conditioning: Conditioning, foreground: Tensor, background: Tensor) -> Conditioning:
    """A conditioning with both joined to the latents, in this order.

    Args:
        foreground, background: ``[batch, channels, latent frames, height, width]``.
    """
    parts = (Timed(foreground, sliced()), Timed(background, sliced()))
    earlier = conditioning.concat.get(VIDEO, ())
    return attrs.evolve(conditioning, concat={**conditioning.concat, VIDEO: (*earlier, *parts)})


def given(context: StageContext, shape: tuple[int, ...]) -> list[Tensor]:
    """Latents of the foreground and of the background, or what stands for one that is missing."""
    options: RelightOptions = context.options
    found = {
        name: encode_video(context, name, _video(context, name))
        for name in LED_BY
        if getattr(options, name) is not None
    }
    if len(found) < len(LED_BY):
        nothing = (
            torch.zeros(1, *shape, device=context.device)
            if options.missing == "zero"
            else encode_video(context, GREY, grey(context))
        )
        found = {name: found.get(name, nothing) for name in LED_BY}
    return [found[name] for name in LED_BY]


def grey(context: StageContext) -> Iterator[Tensor]:
    """Frames of zeros, which the makers encode like any others."""
    assert context.size is not None
    return repeat(
        torch.zeros(1, 3, 1, context.size.height, context.size.width), context.size.frames
    )


def _video(context: StageContext, name: str) -> Iterator[Tensor]:
    """Frames ``[1, 3, 1, height, width]`` in -1…1, one at a time."""
    assert context.size is not None
    frames = held(_frames(context, name), context.size.frames)
    if name == "background" and context.options.mask is not None:
        frames = filled(frames, _masks(context), context.options.seed)
    return map(as_tensor, frames)


def as_tensor(levels: Levels) -> Tensor:
    """``[height, width, 3]`` as ``[1, 3, 1, height, width]``."""
    return torch.from_numpy(np.ascontiguousarray(levels.transpose(2, 0, 1)))[None, :, None]


def _frames(context: StageContext, name: str) -> Iterator[Levels]:
    """The frames that are taken, ``[height, width, 3]`` in -1…1 in the size of the video."""
    value, size = getattr(context.options, name), context.size
    assert size is not None
    wanted = (size.width, size.height)
    if not isinstance(value, str) and is_still(value):
        yield fitted_picture(read_still(value).pixels, wanted)
        return
    pick = context.planned[name]
    if isinstance(value, str):
        chunks = (
            chunk.float().permute(0, 2, 3, 1).cpu().numpy() for chunk in context.inputs[value]
        )
    else:
        chunks = (chunk for chunk in read_clip(value, pick.part))
    for frame in picked((frame for chunk in chunks for frame in chunk), pick.indices):
        yield fitted_frame(frame, wanted)


def _masks(context: StageContext) -> Iterator[Levels]:
    """Where the subject is in each frame, ``[height, width]``: 1, elsewhere 0."""
    options, size = context.options, context.size
    assert size is not None
    leading = next(name for name in LED_BY if getattr(options, name) is not None)
    pick = context.planned[leading]
    count = max(pick.indices) + 1 if pick.indices else size.frames
    rules = attrs.evolve(masking(pick), fitted="cover")
    masks = read_masks(options.mask, (size.width, size.height), count, rules)
    taken = picked((mask[0] for mask in masks), pick.indices)
    return held(taken, size.frames)
