"""Plain scenes: one flat or softly shaded shape does one thing on a quiet background.

This is the world that users are told about, and nearly all that the tiny text-to-video model sees.
The parts (``object_of``, ``ground_of``) are what the richer kinds are made from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.world import captions as text
from zoo.world.draw import (
    Canvas,
    Scenes,
    coverage,
    over,
    per_clip,
    shape_distance,
    shape_extents,
    solid,
    uniform,
)
from zoo.world.heldout import assert_trainable, combinations
from zoo.world.kinds.kind import Kind
from zoo.world.words import (
    BACKGROUND_RGB,
    COLOUR_RGB,
    MARGIN,
    MOTIONS,
    ORBIT,
    RADIUS,
    TRAVEL,
    ZOOM,
)

_RIGHT, _LEFT, _UP, _DOWN, _STILL, _AROUND, _IN, _OUT = range(len(MOTIONS))


def sample(count: int, generator: torch.Generator) -> Scenes:
    """``count`` scenes over all combinations that are not held out."""
    allowed = combinations(heldout=False)
    attributes = allowed[torch.randint(len(allowed), (count,), generator=generator)]
    assert_trainable(attributes)
    return scenes_of(attributes, generator)


def scenes_of(
    attributes: Tensor,
    generator: torch.Generator,
    sizes: Mapping[str, tuple[float, float]] = RADIUS,
) -> Scenes:
    """Scenes that show exactly these combinations, everything else drawn at random.

    Args:
        attributes: ``[batch, 5]`` indices (size, colour, shape, motion, background).
        generator: CPU generator.
        sizes: how large a small and a large circle are.
    """
    count = len(attributes)
    size, colour, shape, motion, background = attributes.unbind(-1)
    low, high = torch.tensor([sizes["small"], sizes["large"]])[size].unbind(-1)
    radius = low + (high - low) * torch.rand(count, generator=generator)

    zooms = (motion == _IN) | (motion == _OUT)
    across, up, down = (reach * radius for reach in shape_extents(shape))
    grown = torch.where(zooms, ZOOM[1], 1.0)
    across, up, down = across * grown, up * grown, down * grown

    travel = uniform(count, *TRAVEL, generator)
    sideways, upright = (motion == _RIGHT) | (motion == _LEFT), (motion == _UP) | (motion == _DOWN)
    room_x, room_y = 1 - 2 * MARGIN - 2 * across, 1 - 2 * MARGIN - up - down
    travel = torch.minimum(travel, torch.where(sideways, room_x, room_y))
    orbit = uniform(count, *ORBIT, generator)
    orbit = torch.minimum(orbit, torch.minimum(room_x, room_y) / 2)
    orbit = torch.where(motion == _AROUND, orbit, 0.0)

    need_x, need_y = (
        torch.where(sideways, travel, 2 * orbit),
        torch.where(upright, travel, 2 * orbit),
    )
    at_x = MARGIN + across + need_x / 2
    at_y = MARGIN + up + need_y / 2
    middle_x = at_x + (room_x - need_x).clamp(min=0) * torch.rand(count, generator=generator)
    middle_y = at_y + (room_y - need_y).clamp(min=0) * torch.rand(count, generator=generator)

    rgb = torch.tensor(list(COLOUR_RGB.values()))[colour]
    rgb = rgb * uniform(count, 0.95, 1.02, generator)[:, None]
    rgb = rgb + (torch.rand(count, 3, generator=generator) - 0.5) * 0.03
    ground = torch.tensor(list(BACKGROUND_RGB.values()))[background]
    ground = ground * uniform(count, 0.92, 1.06, generator)[:, None]
    ground = ground + (torch.rand(count, 3, generator=generator) - 0.5) * 0.016
    shaded = torch.rand(count, generator=generator) < 0.5
    graded = torch.rand(count, generator=generator) < 0.5
    return {
        "attributes": attributes,
        "radius": radius,
        "travel": travel,
        "orbit": orbit,
        "phase": uniform(count, 0, 2 * math.pi, generator),
        "middle": torch.stack([middle_x, middle_y], -1),
        "rgb": rgb.clamp(0, 1),
        "ground": ground.clamp(0, 1),
        "shade": torch.where(shaded, uniform(count, 0.02, 0.10, generator), 0.0),
        "shade_angle": uniform(count, 0, 2 * math.pi, generator),
        "grade": torch.where(graded, uniform(count, 0.02, 0.06, generator), 0.0),
        "grade_angle": uniform(count, 0, 2 * math.pi, generator),
    }


def track_of(scenes: Scenes, canvas: Canvas) -> tuple[Tensor, Tensor, Tensor]:
    """Centre x, centre y and radius of the object in each frame, each ``[batch, frames]``."""
    motion = scenes["attributes"][:, 3:4]
    travel, t = scenes["travel"][:, None], canvas.t
    along = (t - 0.5) * travel
    x = along * ((motion == _RIGHT).float() - (motion == _LEFT).float())
    y = along * ((motion == _DOWN).float() - (motion == _UP).float())
    angle = scenes["phase"][:, None] + 2 * math.pi * t
    x = x + scenes["orbit"][:, None] * torch.cos(angle)
    y = y + scenes["orbit"][:, None] * torch.sin(angle)
    growing = ZOOM[0] + (ZOOM[1] - ZOOM[0]) * t
    shrinking = ZOOM[1] + (ZOOM[0] - ZOOM[1]) * t
    scale = torch.where(motion == _IN, growing, torch.where(motion == _OUT, shrinking, 1.0))
    return (
        scenes["middle"][:, :1] + x,
        scenes["middle"][:, 1:] + y,
        scenes["radius"][:, None] * scale,
    )


def ramp(canvas: Canvas, angle: Tensor) -> Tensor:
    """-1..1 over the picture in the direction of ``angle [batch]``; ``[batch, 1, 1, h, w]``."""
    x, y = (canvas.x - 0.5)[:, None], (canvas.y - 0.5)[:, None]
    return 2 * (x * solid(angle.cos()[:, None]) + y * solid(angle.sin()[:, None]))


def ground_of(scenes: Scenes, canvas: Canvas) -> Tensor:
    """The quiet background, ``[batch, 3, 1, height, width]``."""
    shade = 1 + solid(scenes["grade"][:, None]) * ramp(canvas, scenes["grade_angle"])
    return (solid(scenes["ground"]) * shade).clamp(0, 1)


def offsets_of(scenes: Scenes, canvas: Canvas) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Offsets x, y from the object's centre, its radius, and its soft mask."""
    x, y, radius = track_of(scenes, canvas)
    dx, dy, radius = canvas.x - per_clip(x), canvas.y - per_clip(y), per_clip(radius)
    distance = shape_distance(scenes["attributes"][:, 2], dx, dy, radius)
    return dx, dy, radius, coverage(distance, canvas.edge)


def object_of(scenes: Scenes, dx: Tensor, dy: Tensor, radius: Tensor) -> Tensor:
    """The softly shaded colour of the object, ``[batch, 3, frames, height, width]``."""
    angle = scenes["shade_angle"]
    lean = (dx * per_clip(angle.cos()) + dy * per_clip(angle.sin())) / radius
    shade = 1 + per_clip(scenes["shade"]) * lean.clamp(-1.5, 1.5)
    return (solid(scenes["rgb"]) * shade[:, None]).clamp(0, 1)


def render(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    dx, dy, radius, mask = offsets_of(scenes, canvas)
    return over(ground_of(scenes, canvas), mask, object_of(scenes, dx, dy, radius))


def captions(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """The grammar's sentence for each scene."""
    return [text.sentence(row) for row in scenes["attributes"].tolist()]


PLAIN = Kind("plain", sample, render, captions)
