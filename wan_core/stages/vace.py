"""The feature ``vace`` at work: its context encoded at constant memory, and told to the transformer.

Source of what a context is: Wan-Video/Wan2.1 ``wan/vace.py``, see :mod:`wan_core.models.wan.assembly`.

A stage may ask for the feature several times: each asking is a context with a strength of its own, and the
hints of all are added. Reference pictures are latent frames in front of the video, and all contexts have the
same frames: a place for each different picture, in the order in which they are asked for. In a context that
does not have the picture the place is zero, as are the halves of a reference that say nothing; one that has it,
too, shares the place. (kijai/ComfyUI-WanVideoWrapper pads shorter contexts at their end, so that those without
the references are out of step with the video.)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, StepRange, Timed, sliced
from wan_core.contract.requests import ConditioningRequest
from wan_core.media import read_masks
from wan_core.models.vae import WanVAE, encode_pieces
from wan_core.models.wan.assembly import vace_cells, vace_mask_frames, vace_reference
from wan_core.stages.frames import given_video, on_white
from wan_core.stages.sights import masking_of
from wan_core.stages.vace_options import VaceOptions
from wan_core.stages.vace_plan import spans

VIDEO = "video"
ADD_ON = "vace"

Frames = Iterator[tuple[Tensor, Tensor]]
"""Each frame ``[1, 3, 1, height, width]`` in -1…1 with its mask ``[1, height, width]`` in 0…1."""


def condition(request: ConditioningRequest, conditioning: Conditioning) -> Conditioning | None:
    """One more context; None where its strength is 0 at every step, as if it were not asked for."""
    options: VaceOptions = request.options
    parts = spans(options, request.steps)
    if not parts:
        return None
    vae: WanVAE = request.components.get("vae")
    count = request.size.frames + len(options.references)
    with request.task("encoding for vace", total=count, unit="frame") as progress:
        references = []
        for path in options.references:
            picture = on_white(path, request.size)[None]
            latent = encode_pieces(vae, [picture])[0]
            references.append(vace_reference(latent).to(request.device))
            progress(len(references))
        latents = []
        for both in _halves(vae, request):
            latents.append(both)
            done = 1 + vae.config.stride[0] * (len(latents) - 1)
            progress(len(references) + done)
    request.components.release("vae")
    halves = torch.cat(latents, dim=2)
    context = torch.cat([halves, _mask_channels(request, halves.shape[2]).to(halves)], dim=1)
    return with_context(conditioning, context.to(request.device), references, parts)


def with_context(
    conditioning: Conditioning,
    context: Tensor,
    references: Sequence[Tensor],
    parts: Sequence[tuple[float, StepRange]],
) -> Conditioning:
    """A conditioning with one more context of VACE.

    Args:
        context: ``[1, 96, latent frames, height, width]``, without references.
        references: as frames of a context, ``[96, 1, height, width]``.
        parts: strengths, and the parts of the run for which they hold.
    """
    inputs = dict(conditioning.add_ons.get(ADD_ON, {}))
    before, after = (slot.get(VIDEO, 0) for slot in (conditioning.prepend, conditioning.append))
    earlier = {id(t.value): t.value for n, t in inputs.items() if n.startswith("context")}
    places = _places(references, list(earlier.values()), before)
    new = len(set(places) - set(range(before)))
    if new:
        wider = {key: _with_room(tensor, before, new) for key, tensor in earlier.items()}
        for name, timed in inputs.items():
            if name.startswith("context"):
                inputs[name] = attrs.evolve(timed, value=wider[id(timed.value)])
    whole = F.pad(context, (0, 0, 0, 0, before + new, after))
    for place, reference in zip(places, references, strict=True):
        whole[:, :, place] = reference[:, 0]
    number = len(earlier)
    for index, (strength, steps) in enumerate(parts):
        inputs[f"context.{number}.{index}"] = Timed(whole, sliced(), steps)
        if strength != 1:
            scale = torch.tensor(strength, device=whole.device)
            inputs[f"scale.{number}.{index}"] = Timed(scale, steps=steps)
    changes: dict[str, Any] = {"add_ons": {**conditioning.add_ons, ADD_ON: inputs}}
    if new:
        changes["prepend"] = {**conditioning.prepend, VIDEO: before + new}
    return attrs.evolve(conditioning, **changes)


def _places(references: Sequence[Tensor], earlier: Sequence[Tensor], before: int) -> list[int]:
    """The place of each reference: that of an earlier context with the same one, else a new one."""
    places: list[int] = []
    following = before
    for reference in references:
        shared = [
            place
            for place in range(before)
            if place not in places
            and any(torch.equal(one[0, :, place], reference[:, 0]) for one in earlier)
        ]
        places.append(shared[0] if shared else following)
        following += not shared
    return places


def _with_room(context: Tensor, place: int, frames: int) -> Tensor:
    """A context with so many frames of zeros from a place on."""
    room = context.new_zeros(*context.shape[:2], frames, *context.shape[3:])
    return torch.cat([context[:, :, :place], room, context[:, :, place:]], dim=2)


def _halves(vae: WanVAE, request: ConditioningRequest) -> Iterator[Tensor]:
    """What stays and what is made anew, ``[1, 32, n, height / 8, width / 8]`` float32, part by part."""
    size = request.size
    if request.options.video is None:
        nothing = torch.zeros(1, 3, 1, size.height, size.width)
        for mean, _ in vae.encode_stream(repeat(nothing, size.frames)):
            yield torch.cat([mean, mean], dim=1).float()
        return
    # both streams go in step, so that no more than a part of the video is held between them
    one, other = _twice(zip(given_video(request, size), _masks(request), strict=True))
    stays = vae.encode_stream(frame * ~(mask > 0.5) for frame, mask in one)
    anew = vae.encode_stream(frame * (mask > 0.5) for frame, mask in other)
    for (left, _), (right, _) in zip(stays, anew, strict=True):
        yield torch.cat([left, right], dim=1).float()


def _twice(frames: Frames) -> tuple[Frames, Frames]:
    """The same for two readers; held is what one of them has read and the other has not.

    (``itertools.tee`` would hold dozens more.)
    """
    first: deque[tuple[Tensor, Tensor]] = deque()
    second: deque[tuple[Tensor, Tensor]] = deque()

    def read(mine: deque[tuple[Tensor, Tensor]], other: deque[tuple[Tensor, Tensor]]) -> Frames:
        while True:
            if not mine:
                following = next(frames, None)
                if following is None:
                    return
                mine.append(following)
                other.append(following)
                del following
            yield mine.popleft()

    return read(first, second), read(second, first)


def _masks(request: ConditioningRequest) -> Iterator[Tensor]:
    """Where each frame is made anew, ``[1, height, width]`` in 0…1."""
    options, size = request.options, request.size
    shape = (size.width, size.height)
    if options.mask is None:
        yield from repeat(torch.ones(1, *shape[::-1]), size.frames)
        return
    rules = masking_of(options, request.family.preset.fps)
    for mask in read_masks(options.mask, shape, size.frames, rules):
        yield torch.from_numpy(mask)


def _mask_channels(request: ConditioningRequest, latent_frames: int) -> Tensor:
    """``[1, 64, latent frames, height / 8, width / 8]``; only the frames that count are held."""
    seen = vace_mask_frames(request.size.frames, latent_frames)
    wanted = set(seen)
    masks: Mapping[int, Tensor] = {
        index: mask for index, mask in enumerate(_masks(request)) if index in wanted
    }
    return vace_cells(torch.stack([masks[index] for index in seen], dim=1))[None]
