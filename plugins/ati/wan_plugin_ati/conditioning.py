"""The feature at work: the picture's channels are edited once, and hold for the steps that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

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
    changed = {
        latents: _edited(told, tracks, request, request.latent_shapes[latents][0])
        for latents, told in conditioning.concat.items()
        if latents in request.latent_shapes
    }
    if not any(part is not old for parts in changed.values() for part, old in parts):
        raise WorkflowError(
            f"stage {request.stage} is told of no picture, so tracks have nothing to move",
            remedy='add image = "FILE"',
        )
    new = {latents: tuple(part for part, _ in parts) for latents, parts in changed.items()}
    return attrs.evolve(conditioning, concat={**conditioning.concat, **new})


def _edited(
    told: Sequence[Timed], tracks: Tensor, request: ConditioningRequest, channels: int
) -> list[tuple[Timed, Timed]]:
    """Parts of the channels, each beside what it comes from: the picture's edited, others as they are."""
    options: AtiOptions = request.options
    found: list[tuple[Timed, Timed]] = []
    for part in told:
        if part.value.shape[1] != MASK_CHANNELS + channels:
            found.append((part, part))
            continue
        y = part.value[0]
        temperature = temperature_of(options, request.family.name, *y.shape[-2:])
        led = edit(y, tracks, temperature=temperature, topk=options.topk)[None]
        for is_led, steps in parts(part.steps, spans(request.steps, options.start, options.end)):
            value = led if is_led else part.value
            found.append((attrs.evolve(part, value=value, steps=steps), part))
    return found
