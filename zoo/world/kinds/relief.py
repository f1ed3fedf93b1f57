"""Bumpy surfaces under a light that rests or wanders around: the world of relighting."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.world.draw import Canvas, Scenes, choice, per_clip, points, smooth_field, solid, uniform
from zoo.world.kinds.kind import Kind
from zoo.world.kinds.lit import LIGHT_ANGLES
from zoo.world.words import COLOUR_RGB, COLOURS, LIGHTS


def sample(count: int, generator: torch.Generator) -> Scenes:
    """Surfaces with a main light, resting or moving by up to half a turn."""
    colour = choice(count, len(COLOURS), generator)
    light = choice(count, len(LIGHTS), generator)
    moves = torch.rand(count, generator=generator) < 0.5
    turn = uniform(count, 1.2, 3.0, generator) * (choice(count, 2, generator) * 2 - 1)
    rgb = torch.tensor(list(COLOUR_RGB.values()))[colour]
    return {
        "colour": colour,
        "light": light,
        "angle": torch.tensor(LIGHT_ANGLES)[light],
        "moves": moves,
        "turn": torch.where(moves, turn, 0.0),
        "rgb": 0.25 + 0.6 * rgb,
        "seed": choice(count, 100_000, generator),
        "scale": uniform(count, 0.5, 1.0, generator),
        "height": uniform(count, 0.25, 0.6, generator),
        "ambient": uniform(count, 0.35, 0.55, generator),
    }


def render(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    rest = torch.zeros_like(scenes["angle"])[:, None]
    step = 0.02
    heights = [
        smooth_field(scenes["seed"], 8, points(canvas_at_start(canvas), scenes["scale"], dx, dy))
        for dx, dy in ((rest, rest), (rest + step, rest), (rest, rest + step))
    ]
    slope_x = (heights[0] - heights[1]) * per_clip(scenes["height"]) * 3
    slope_y = (heights[0] - heights[2]) * per_clip(scenes["height"]) * 3
    angle = scenes["angle"][:, None] + scenes["turn"][:, None] * canvas.t
    to_x, to_y = per_clip(angle.cos()), per_clip(angle.sin())
    length = torch.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (0.8 - 0.6 * (slope_x * to_x + slope_y * to_y)) / length
    falloff = 1 + 0.35 * ((canvas.x - 0.5) * to_x + (canvas.y - 0.5) * to_y)
    ambient = per_clip(scenes["ambient"])
    light = (ambient + (1 - ambient) * facing.clamp(min=0)) * falloff
    return (solid(scenes["rgb"]) * light[:, None]).clamp(0, 1)


def canvas_at_start(canvas: Canvas) -> Canvas:
    """The canvas with its first frame only, for things that do not move."""
    return Canvas(canvas.x, canvas.y, canvas.t[:, :1], canvas.edge)


def captions(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """A surface, its colour and its light."""
    sentences = []
    rows = zip(
        scenes["colour"].tolist(), scenes["light"].tolist(), scenes["moves"].tolist(), strict=True
    )
    for colour, light, moves in rows:
        end = ", the light moves around" if moves else ""
        sentences.append(f"a bumpy {COLOURS[colour]} surface lit from the {LIGHTS[light]}{end}")
    return sentences


RELIEF = Kind("relief", sample, render, captions)
