"""Reads size, colour, shape, motion and background from the pixels of a clip. No learning.

The judge knows the grammar's words and how they look (``zoo.world.words``), finds the pixels that
differ from the background, follows their centre and area over time, and compares the average
outline with the three shapes. It is itself tested against rendered ground truth.
"""

from __future__ import annotations

import math

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.world.draw import canvas, coverage, shape_parts
from zoo.world.words import (
    ATTRIBUTES,
    BACKGROUND_RGB,
    BACKGROUNDS,
    COLOUR_RGB,
    COLOURS,
    MOTIONS,
    RADIUS,
    SHAPES,
    SIZES,
)

#: an equivalent radius above this is "large": halfway (geometrically) between the two sizes
SIZE_LIMIT = math.sqrt(RADIUS["small"][1] * RADIUS["large"][0])
#: side of the square patch on which outlines are compared, and how far it reaches
_PATCH, _REACH = 32, 2.0


@attrs.frozen
class Verdict:
    """What the judge saw.

    Attributes:
        words: attribute name -> word.
        confidence: attribute name -> 0 (a guess) .. 1 (unmistakable).
        travel: from the first to the last place of the object's centre, as fractions of the
            shorter side (x to the right, y down).
        growth: last area over first area.
        radius: equivalent radius, as a fraction of the shorter side.
        black_level: brightest background channel, 0..1 (for "black": below 30/255).
    """

    words: dict[str, str]
    confidence: dict[str, float]
    travel: tuple[float, float]
    growth: float
    radius: float
    black_level: float

    @property
    def indices(self) -> list[int]:
        """The words as indices, in the order of ``ATTRIBUTES``."""
        return [ATTRIBUTES[name].index(self.words[name]) for name in ATTRIBUTES]


def judge(clip: Tensor) -> Verdict:
    """Judge one clip.

    Args:
        clip: ``[3, frames, height, width]``, uint8 or float in -1..1.

    Returns:
        The verdict. A clip without any visible object is judged with confidence 0.
    """
    pixels = _unit(clip)
    background, back_confidence, level = _background(pixels)
    mask = _object_mask(pixels)
    if mask is None:
        return _blank(background, back_confidence, level)
    colour, colour_confidence = _colour(pixels, mask)
    x, y, area = _track(mask)
    radius = float((area.median() / math.pi).sqrt())
    shape, shape_confidence = _shape(mask, x, y, area)
    motion, motion_confidence, travel, growth = _motion(x, y, area)
    size_distance = abs(math.log(max(radius, 1e-4) / SIZE_LIMIT))
    return Verdict(
        words={
            "size": SIZES[int(radius > SIZE_LIMIT)],
            "colour": colour,
            "shape": shape,
            "motion": motion,
            "background": background,
        },
        confidence={
            "size": min(1.0, size_distance / 0.3),
            "colour": colour_confidence,
            "shape": shape_confidence,
            "motion": motion_confidence,
            "background": back_confidence,
        },
        travel=travel,
        growth=growth,
        radius=radius,
        black_level=level,
    )


def _unit(clip: Tensor) -> Tensor:
    if clip.dtype == torch.uint8:
        return clip.float() / 255
    return ((clip.float() + 1) / 2).clamp(0, 1)


def _blank(background: str, confidence: float, level: float) -> Verdict:
    words = {name: options[0] for name, options in ATTRIBUTES.items()} | {"background": background}
    certain = dict.fromkeys(ATTRIBUTES, 0.0) | {"background": confidence}
    return Verdict(words, certain, (0.0, 0.0), 1.0, 0.0, level)


def _nearest(rgb: Tensor, table: dict[str, tuple[float, float, float]]) -> tuple[str, float]:
    """The named colour next to ``rgb [3]``, and how clearly it beats the second."""
    distances = (torch.tensor(list(table.values())) - rgb.cpu()).norm(dim=-1)
    first, second = distances.sort().values[:2].tolist()
    name = list(table)[int(distances.argmin())]
    return name, (second - first) / (second + first + 1e-6)


def _border(pixels: Tensor) -> Tensor:
    """All pixels within a thin frame along the picture's edge, ``[3, count]``."""
    thick = max(1, min(pixels.shape[-2:]) // 24)
    sides = (
        pixels[..., :thick, :],
        pixels[..., -thick:, :],
        pixels[..., :thick],
        pixels[..., -thick:],
    )
    return torch.cat([side.flatten(1) for side in sides], dim=1)


def _background(pixels: Tensor) -> tuple[str, float, float]:
    rgb = _border(pixels).median(dim=1).values
    name, confidence = _nearest(rgb, BACKGROUND_RGB)
    assert name in BACKGROUNDS
    return name, confidence, float(rgb.max())


def _object_mask(pixels: Tensor) -> Tensor | None:
    """Soft mask of what differs from the background, ``[frames, height, width]``; None: nothing."""
    height, width = pixels.shape[-2:]
    smooth = F.avg_pool2d(pixels.transpose(0, 1), 3, stride=1, padding=1, count_include_pad=False)
    ground = _ground(smooth)
    distance = (smooth - ground).square_().sum(dim=1).sqrt_()
    top = distance.flatten(1).quantile(0.995, dim=1).median()
    if float(top) < 0.12:
        return None
    solid = distance > 0.5 * top
    core = _widened(~solid, 5) == 0
    reach = 5 + 2 * (min(height, width) // 48)
    near = _widened(core, reach) > 0
    if not bool(core.any()):
        near = solid
    soft: Tensor = (distance / top).clamp(0, 1) * near
    return soft


def _widened(mask: Tensor, size: int) -> Tensor:
    """``mask [frames, height, width]`` widened by half of ``size`` (odd) to all sides, 0 or 1."""
    wide = F.max_pool2d(mask[:, None].float(), (size, 1), 1, (size // 2, 0))
    return F.max_pool2d(wide, (1, size), 1, (0, size // 2))[:, 0]


def _ground(frames: Tensor) -> Tensor:
    """The background as a plane per channel, fitted to the border of all frames.

    Args:
        frames: ``[frames, 3, height, width]``.

    Returns:
        ``[1, 3, height, width]``.
    """
    height, width = frames.shape[-2:]
    y = torch.linspace(-1, 1, height, device=frames.device)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=frames.device)[None].expand(height, width)
    basis = torch.stack([torch.ones_like(x), x, y])
    still = frames.median(dim=0).values
    spots = _border(torch.cat([basis, still]))
    terms, values = spots[:3].T, spots[3:].T
    weight = torch.ones_like(values[:, :1])
    for _ in range(4):
        fit = torch.linalg.lstsq(terms * weight, values * weight).solution
        error = (values - terms @ fit).norm(dim=1, keepdim=True)
        weight = 1 / (1 + (error / 0.03) ** 2)
    return torch.einsum("khw,kc->chw", basis, fit)[None]


def _colour(pixels: Tensor, mask: Tensor) -> tuple[str, float]:
    inside = _widened(mask <= 0.8, 3) == 0
    if int(inside.sum()) < 16:
        inside = mask > 0.6
    rgb = pixels[:, inside].median(dim=1).values
    name, confidence = _nearest(rgb, COLOUR_RGB)
    assert name in COLOURS
    return name, confidence


def _track(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, y and area in each frame, ``[frames]``, in units of the shorter side."""
    height, width = mask.shape[-2:]
    side = min(height, width)
    weight = ((mask - 0.25) / 0.5).clamp(0, 1).double()
    total = weight.sum(dim=(1, 2))
    ys = (torch.arange(height, device=mask.device) + 0.5) / side
    xs = (torch.arange(width, device=mask.device) + 0.5) / side
    safe = total.clamp(min=1e-6)
    x = (weight.sum(dim=1) * xs).sum(dim=1) / safe
    y = (weight.sum(dim=2) * ys).sum(dim=1) / safe
    seen = total > 4
    if bool(seen.any()) and not bool(seen.all()):
        index = torch.arange(len(seen), device=mask.device)
        known = index[seen]
        nearest = known[(index[:, None] - known).abs().argmin(dim=1)]
        x, y = x[nearest], y[nearest]
    return x.cpu(), y.cpu(), (total / side**2).cpu()


def _shape(mask: Tensor, x: Tensor, y: Tensor, area: Tensor) -> tuple[str, float]:
    """Compare the outline, moved to the middle, scaled to unit area and averaged over frames."""
    height, width = mask.shape[-2:]
    side = min(height, width)
    radius = (area / math.pi).sqrt().clamp(min=0.01).to(mask)
    steps = (torch.arange(_PATCH, device=mask.device) + 0.5) / _PATCH * 2 * _REACH - _REACH
    at_x = (x.to(mask)[:, None] + steps * radius[:, None]) * side / width * 2 - 1
    at_y = (y.to(mask)[:, None] + steps * radius[:, None]) * side / height * 2 - 1
    grid = torch.stack(
        [
            at_x[:, None, :].expand(-1, _PATCH, -1),
            at_y[:, :, None].expand(-1, -1, _PATCH),
        ],
        dim=-1,
    )
    outline = ((mask - 0.25) / 0.5).clamp(0, 1)[:, None]
    patches = F.grid_sample(outline, grid, mode="bilinear", align_corners=False)[:, 0]
    keep = area.to(mask) > 0
    mean = patches[keep].median(dim=0).values if bool(keep.any()) else patches.mean(dim=0)
    errors = (_templates().to(mask) - mean).square().mean(dim=(1, 2))
    first, second = errors.sort().values[:2].tolist()
    return SHAPES[int(errors.argmin())], (second - first) / (second + first + 1e-9)


def _templates() -> Tensor:
    """The three shapes at unit area, ``[3, patch, patch]``."""
    small = canvas(1, _PATCH, _PATCH, "cpu")
    x, y = ((axis * 2 - 1) * _REACH for axis in (small.x, small.y))
    shapes = []
    for index, area in enumerate((math.pi, (2 * 0.88) ** 2, 3 * math.sqrt(3) / 4 * 1.38**2)):
        radius = torch.full((1, 1, 1, 1), math.sqrt(math.pi / area))
        distance = shape_parts(x, y, radius)[index]
        shapes.append(coverage(distance, 2 * _REACH * 1.5 / _PATCH)[0, 0])
    return torch.stack(shapes)


def _motion(x: Tensor, y: Tensor, area: Tensor) -> tuple[str, float, tuple[float, float], float]:
    count = max(1, len(x) // 11)
    start_x, end_x = float(x[:count].mean()), float(x[-count:].mean())
    start_y, end_y = float(y[:count].mean()), float(y[-count:].mean())
    dx, dy = end_x - start_x, end_y - start_y
    growth = float(area[-count:].mean() / area[:count].mean().clamp(min=1e-6))
    range_x, range_y = (float(v.quantile(0.97) - v.quantile(0.03)) for v in (x, y))
    turned = _turned(x, y)
    travelled = math.hypot(dx, dy)
    scores = {
        "moves right": dx - abs(dy),
        "moves left": -dx - abs(dy),
        "moves down": dy - abs(dx),
        "moves up": -dy - abs(dx),
    }
    straight = max(scores, key=lambda name: scores[name])
    reach = min(range_x, range_y)
    if reach > 0.15 and turned > 0.55 and travelled < 0.75 * max(range_x, range_y):
        name, confidence = "circles around", min(1.0, (reach - 0.15) / 0.1, (turned - 0.55) / 0.2)
    elif max(range_x, range_y) > 0.15:
        name, confidence = straight, max(0.0, min(1.0, scores[straight] / 0.2))
    elif abs(math.log(max(growth, 1e-6))) > math.log(1.6):
        name = "zooms in" if growth > 1 else "zooms out"
        confidence = min(1.0, abs(math.log(max(growth, 1e-6))) - math.log(1.6))
    else:
        name, confidence = "stays still", min(1.0, max(0.0, 1 - max(range_x, range_y) / 0.15))
    assert name in MOTIONS
    return name, confidence, (dx, dy), growth


def _turned(x: Tensor, y: Tensor) -> float:
    """How often the centre goes round the middle of its path, in whole turns, either way."""
    mid_x, mid_y = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
    angle = torch.atan2(y - mid_y, x - mid_x)
    step = torch.remainder(angle.diff() + math.pi, 2 * math.pi) - math.pi
    return float(step.sum().abs()) / (2 * math.pi)
