"""The feature at work: the picture's channels are edited once, and hold for the steps that are asked for."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from wan_core.contract import Conditioning, ConditioningRequest, Timed, WorkflowError
from wan_plugin_ati.clip import lay_out, processed
from wan_plugin_ati.motion import MASK_CHANNELS, edit
from wan_plugin_ati.options import AtiOptions, drawing_from
from wan_plugin_ati.placing import layout_of
from wan_plugin_ati.reach import temperature_of
from wan_plugin_ati.steps import parts, spans


def condition(request: ConditioningRequest, conditioning: Conditioning) -> Conditioning:
    """The next conditioning.

    Raises:
        TracksError: the tracks can't be read.
        WorkflowError: nothing was told of a picture, so that there are no channels to edit.
    """
    options: AtiOptions = request.options
    drawing = drawing_from(options)
    layout = layout_of(options, drawing, request.size, request.pictures)
    tracks = torch.from_numpy(processed(lay_out(drawing, layout), layout.window))
    found = False
    concat = dict(conditioning.concat)
    for latents in concat.keys() & request.latent_shapes.keys():
        parts_now: list[Timed] = []
        for part in concat[latents]:
            is_picture = part.value.shape[1] == MASK_CHANNELS + request.latent_shapes[latents][0]
            found |= is_picture
            parts_now += _with_tracks(part, tracks, request) if is_picture else [part]
        concat[latents] = tuple(parts_now)
    if not found:
        raise WorkflowError(
            f"stage {request.stage} is told of no picture, so tracks have nothing to move",
            remedy='add image = "FILE"',
        )
    return attrs.evolve(conditioning, concat=concat)


def _with_tracks(part: Timed, tracks: Tensor, request: ConditioningRequest) -> list[Timed]:
    """The picture's channels in parts: edited for the steps that are asked for, as they are for the others."""
    options: AtiOptions = request.options
    y = part.value[0]
    temperature = temperature_of(options, request.family.name, *y.shape[-2:])
    edited = edit(y, tracks, temperature=temperature, topk=options.topk)[None]
    return [
        attrs.evolve(part, value=edited if is_led else part.value, steps=steps)
        for is_led, steps in parts(part.steps, spans(request.steps, options.start, options.end))
    ]
