"""Reads the direction of the light, the object's outline and flicker from the pixels of a clip. No learning.

The background is a plane in each colour, fitted to the picture's edge; a shadow scales it down. The object is
a plane in each colour, too, in coordinates that move with it: the slope of that plane points to the light. A
pixel belongs to the object when that explains it better than the background, in shadow or not.
"""

from __future__ import annotations

import math

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.world.kinds.lit import LIGHT_ANGLES
from zoo.world.words import LIGHTS

#: how dark a shadow may be and how bright a background beyond its plane, as factors
SHADES = (0.5, 1.03)
#: how much brighter than its plane an object may shine
SHINE = 0.35
#: levels above this tell nothing of slopes
SATURATED = 0.985
#: a background differs from its object by more than this (0..1)
VISIBLE = 0.08
#: differences from the background up to this are none
NOISE = 0.02
#: between these distances of an object from its background, hue begins to tell them apart
HUES = (0.06, 0.16)
ROUNDS = 4


@attrs.frozen(eq=False)
class Reading:
    """What the judge saw of a clip.

    Attributes:
        light: index of the nearest of ``words.LIGHTS``.
        angle: towards the light, radians, y down.
        slope: change of brightness from the object's middle to its edge, relative to its brightness.
        outline: where the object is, ``[frames, height, width]`` in 0..1.
        inside: mean brightness of the object in each frame, ``[frames]`` in 0..1.
        whole: that of the whole picture.
    """

    light: int
    angle: float
    slope: float
    outline: Tensor
    inside: Tensor
    whole: Tensor

    @property
    def word(self) -> str:
        """The direction as the captions call it."""
        return LIGHTS[self.light]


def read(clip: Tensor) -> Reading:
    """Look at one clip ``[3, frames, height, width]``, uint8 or float in -1..1."""
    whole = clip.float() / 255 if clip.dtype == torch.uint8 else (clip.float() + 1) / 2
    pixels = whole.clamp(0, 1)
    ground = _ground(pixels)
    away = _from(ground, pixels)
    top = away.flatten(1).quantile(0.995, dim=1).median()
    outline = (away > torch.clamp(0.4 * top, min=VISIBLE)).float()
    plane = torch.tensor([[1.0, 0.0, 0.0]]).T.expand(3, 3)
    for _ in range(ROUNDS):
        if float(outline.sum()) < 4 * len(outline):
            break
        places, near = _places(outline)
        plane = _object_plane(pixels, outline, places)
        share = _share(pixels, ground, away, torch.einsum("kfhw,kc->cfhw", places, plane))
        outline = ((share - 0.25) / 0.5).clamp(0, 1) * near
    level, slope_x, slope_y = plane.sum(dim=1).tolist()
    angle = math.atan2(slope_y, slope_x)
    brightness = pixels.mean(0)
    area = outline.sum(dim=(1, 2)).clamp(min=1e-6)
    return Reading(
        nearest_light(angle),
        angle,
        math.hypot(slope_x, slope_y) / max(level, 1e-6),
        outline,
        (brightness * outline).sum(dim=(1, 2)) / area,
        brightness.mean(dim=(1, 2)),
    )


def nearest_light(angle: float) -> int:
    """The index of the light whose direction is next to ``angle`` (radians, y down)."""
    return max(range(len(LIGHTS)), key=lambda light: math.cos(angle - LIGHT_ANGLES[light]))


def likeness(one: Reading, other: Reading) -> float:
    """Intersection over union of two outlines, the mean of all frames in which either has one."""
    both = torch.minimum(one.outline, other.outline).sum(dim=(1, 2))
    either = torch.maximum(one.outline, other.outline).sum(dim=(1, 2))
    seen = either > 1
    return float((both[seen] / either[seen]).mean()) if bool(seen.any()) else 0.0


def flicker(levels: Tensor) -> float:
    """Mean change of brightness from one frame to the next, in levels of 255."""
    return float(levels.diff().abs().mean()) * 255 if len(levels) > 1 else 0.0


def _basis(height: int, width: int) -> Tensor:
    """1, x, y over the picture, ``[3, height, width]``."""
    y = torch.linspace(-1, 1, height)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width)[None].expand(height, width)
    return torch.stack([torch.ones_like(x), x, y])


def _ground(pixels: Tensor) -> Tensor:
    """The background, ``[3, 1, height, width]``."""
    height, width = pixels.shape[-2:]
    basis = _basis(height, width)
    thick = max(1, min(height, width) // 24)
    edge = torch.ones(height, width, dtype=torch.bool)
    edge[thick:-thick, thick:-thick] = False
    terms, values = basis[:, edge].T, pixels.median(dim=1).values[:, edge].T
    weight = torch.ones_like(values[:, :1])
    for _ in range(6):
        fit = torch.linalg.lstsq(terms * weight, values * weight).solution
        error = (values - terms @ fit).norm(dim=1, keepdim=True)
        weight = 1 / (1 + (error / 0.02) ** 2)
    return torch.einsum("khw,kc->chw", basis, fit)[:, None].clamp(0, 1)


def _from(ground: Tensor, pixels: Tensor) -> Tensor:
    """How far each pixel is from its background, in shadow or not: ``[frames, height, width]``."""
    factor = (pixels * ground).sum(0) / ground.square().sum(0).clamp(min=1e-4)
    shaded = ground * factor.clamp(*SHADES)
    return (pixels - shaded).square().sum(0).sqrt()


def _places(outline: Tensor) -> tuple[Tensor, Tensor]:
    """1, x, y in coordinates of the object, ``[3, frames, height, width]``, and where it can be (0 or 1)."""
    height, width = outline.shape[-2:]
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    area = outline.sum(dim=(1, 2)).clamp(min=1.0)
    middle_x = (outline.sum(dim=1) * x).sum(dim=1) / area
    middle_y = (outline.sum(dim=2) * y).sum(dim=1) / area
    radius = (area / math.pi).sqrt()[:, None, None]
    dx = ((x[None, None, :] - middle_x[:, None, None]) / radius).expand_as(outline)
    dy = ((y[None, :, None] - middle_y[:, None, None]) / radius).expand_as(outline)
    near = (dx.square() + dy.square() < (1.8 + 1.5 / radius).square()).float()
    return torch.stack([torch.ones_like(dx), dx, dy]), near


def _object_plane(pixels: Tensor, outline: Tensor, places: Tensor) -> Tensor:
    """The plane that fits each colour inside of the object, ``[3 (1, x, y), 3 colours]``."""
    inside = (outline > 0.9) & (places[1:].square().sum(0) < 1.7**2)
    core = -F.max_pool2d(-inside[:, None].float(), 3, 1, 1)[:, 0] > 0
    if int(core.sum()) < 32:
        core = outline > 0.5
    terms = places[:, core].T
    planes = []
    for colour in pixels[:, core]:
        weight = (colour < SATURATED).float()
        if float(weight.sum()) < 16:
            weight = torch.ones_like(weight)
        for _ in range(3):
            scaled = terms * weight[:, None]
            fit = torch.linalg.solve(
                scaled.T @ terms + 1e-3 * torch.eye(3), scaled.T @ colour[:, None]
            )[:, 0]
            error = colour - terms @ fit
            weight = (colour < SATURATED).float() / (1 + (error / 0.06) ** 2) + 1e-6
        planes.append(fit)
    return torch.stack(planes, dim=1)


def _share(pixels: Tensor, ground: Tensor, away: Tensor, plane: Tensor) -> Tensor:
    """How much of each pixel is the object, ``[frames, height, width]`` in 0..1.

    Args:
        away: how far the pixels are from their background.
        plane: what the object looks like in each pixel, ``[3, frames, height, width]``.
    """
    own = plane.clamp(0, 1)
    far = _from(ground, own)
    clear = (away - NOISE).clamp(min=0)
    # on the way from the background to an object that differs in hue
    mixed = (clear / (far - NOISE).clamp(min=1e-3)).clamp(0, 1)
    # of one that differs in brightness alone, whichever explains the pixel better
    error = pixels - own
    shine = error.mean(0).clamp(0, SHINE)
    near = (error - shine).square().sum(0).sqrt()
    nearer = clear / (clear + near + 1e-6)
    trust = ((far - HUES[0]) / (HUES[1] - HUES[0])).clamp(0, 1)
    return torch.lerp(nearer, mixed, trust)
