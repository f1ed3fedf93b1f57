"""Lit scenes: a rounded shape with light and shade on it, and its shadow on the background."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.world import captions as text
from zoo.world.draw import (
    Canvas,
    Scenes,
    choice,
    coverage,
    over,
    per_clip,
    shape_distance,
    solid,
    uniform,
)
from zoo.world.kinds import plain
from zoo.world.kinds.kind import Kind
from zoo.world.words import LIGHTS

#: direction towards each light in the picture plane (y goes down)
LIGHT_ANGLES = tuple(math.radians(d) for d in (180, 0, 270, 90, 225, 315, 135, 45))


def sample(count: int, generator: torch.Generator) -> Scenes:
    """Plain scenes, each with one of the eight lights."""
    scenes = plain.sample(count, generator)
    light = choice(count, len(LIGHTS), generator)
    angle = torch.tensor(LIGHT_ANGLES)[light] + uniform(count, -0.12, 0.12, generator)
    return scenes | {
        "light": light,
        "light_angle": angle,
        "grade": uniform(count, 0.10, 0.25, generator),
        "grade_angle": angle,
        "bulge": uniform(count, 0.35, 0.6, generator),
        "gloss": uniform(count, 0, 0.35, generator),
        "shadow": uniform(count, 0.2, 0.5, generator),
    }


def render(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    dx, dy, radius, mask = plain.offsets_of(scenes, canvas)
    to_x, to_y = per_clip(scenes["light_angle"].cos()), per_clip(scenes["light_angle"].sin())
    lean = ((dx * to_x + dy * to_y) / radius).clamp(-1.4, 1.4)
    light = 0.78 + per_clip(scenes["bulge"]) * lean * 0.6
    spot = (dx / radius - 0.45 * to_x) ** 2 + (dy / radius - 0.45 * to_y) ** 2
    gloss = per_clip(scenes["gloss"]) * torch.exp(-spot / 0.08)
    colour = (solid(scenes["rgb"]) * light[:, None] + gloss[:, None]).clamp(0, 1)

    away_x, away_y = dx + 0.35 * radius * to_x, dy + 0.35 * radius * to_y
    distance = shape_distance(scenes["attributes"][:, 2], away_x, away_y, radius)
    shadow = per_clip(scenes["shadow"]) * coverage(distance, 6 * canvas.edge)
    ground = plain.ground_of(scenes, canvas) * (1 - shadow[:, None])
    return over(ground, mask, colour)


def captions(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """The grammar's sentence with the light behind a comma."""
    rows = zip(scenes["attributes"].tolist(), scenes["light"].tolist(), strict=True)
    return [f"{text.sentence(row)}, lit from the {LIGHTS[light]}" for row, light in rows]


LIT = Kind("lit", sample, render, captions)
