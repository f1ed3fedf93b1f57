"""Reads from pixels where objects of known colours are. No learning.

Every pixel is taken for a mixture of the background and the objects' colours, so that the soft edge between one
object and the background is no part of the other object.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.world.words import COLOUR_RGB

#: shares of an object's colour that count for nothing and for all of a pixel
NONE, ALL = 0.35, 0.75
#: pixels without which an object is not there
LEAST = 6.0


def centres(clip: Tensor, colours: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Where objects are in each frame.

    Args:
        clip: ``[3, frames, height, width]``, uint8 or float in -1..1.
        colours: word of each object's colour.

    Returns:
        x and y in pixels, ``[frames, objects, 2]`` (where an object is not there, its place in the frame next
        to it, and the middle of the picture where it is in none), and whether it is there,
        ``[frames, objects]``.
    """
    pixels = (
        clip.float() / 255 if clip.dtype == torch.uint8 else ((clip.float() + 1) / 2).clamp(0, 1)
    )
    frames = pixels.transpose(0, 1)
    smooth = F.avg_pool2d(frames, 3, stride=1, padding=1, count_include_pad=False)
    shares = _shares(smooth, torch.tensor([COLOUR_RGB[name] for name in colours]))
    weight = ((shares - NONE) / (ALL - NONE)).clamp(0, 1)
    weight = weight * _cores(weight)
    total = weight.sum(dim=(2, 3))
    x = (weight.sum(dim=2) * (torch.arange(clip.shape[-1]) + 0.5)).sum(-1)
    y = (weight.sum(dim=3) * (torch.arange(clip.shape[-2]) + 0.5)).sum(-1)
    places = torch.stack([x, y], -1) / total.clamp(min=1e-6)[..., None]
    there = total > LEAST
    middle = torch.tensor([clip.shape[-1] / 2, clip.shape[-2] / 2])
    for number in range(len(colours)):
        places[:, number] = _filled(places[:, number], there[:, number], middle)
    return places, there


def _shares(frames: Tensor, colours: Tensor) -> Tensor:
    """How much of each object is in each pixel: ``[frames, objects, height, width]``."""
    thick = max(1, min(frames.shape[-2:]) // 24)
    edge = torch.cat(
        [
            frames[..., :thick, :].flatten(2),
            frames[..., -thick:, :].flatten(2),
            frames[..., :thick].flatten(2),
            frames[..., -thick:].flatten(2),
        ],
        dim=2,
    )
    ground = edge.permute(1, 0, 2).flatten(1).median(dim=1).values
    way = colours - ground
    difference = frames - ground[:, None, None]
    shares = torch.einsum("oc,fchw->fohw", torch.linalg.pinv(way.T), difference)
    if len(colours) == 1:
        return shares
    # what one colour alone explains about as well as both is of that one
    alone = torch.einsum("oc,fchw->fohw", way, difference) / way.square().sum(1)[:, None, None]
    left = difference[:, None] - alone[:, :, None] * way[:, :, None, None]
    error = left.norm(dim=2)
    best = error == error.amin(dim=1, keepdim=True)
    return torch.where(error.amin(dim=1, keepdim=True) < 0.12, alone * best, shares)


def _cores(weight: Tensor) -> Tensor:
    """Where an object is more than a line or a speck: ``[frames, objects, height, width]``, 0 or 1."""
    outside = F.max_pool2d((weight < 0.5).float(), 3, 1, 1)
    return F.max_pool2d(1 - outside, 5, 1, 2)


def _filled(places: Tensor, there: Tensor, middle: Tensor) -> Tensor:
    if not bool(there.any()):
        return middle.expand_as(places)
    known = there.nonzero()[:, 0]
    nearest = (torch.arange(len(there))[:, None] - known).abs().argmin(1)
    return places[known[nearest]]
