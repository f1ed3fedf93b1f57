"""Two shapes on curved paths that may cross: the world of trajectories."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.world.draw import Canvas, Scenes, coverage, over, per_clip, shape_distance, solid, uniform
from zoo.world.kinds import plain
from zoo.world.kinds.kind import Kind
from zoo.world.words import ATTRIBUTES, BACKGROUNDS


def sample(count: int, generator: torch.Generator) -> Scenes:
    """Two objects, each on its own curve through the picture."""
    scenes: Scenes = {}
    for which in ("first", "second"):
        single = plain.sample(count, generator)
        scenes |= {f"{which}_{name}": value for name, value in single.items()}
        scenes[f"{which}_radius"] = scenes[f"{which}_radius"].clamp(max=0.15)
        scenes[f"{which}_points"] = torch.rand(count, 4, 2, generator=generator) * 0.7 + 0.15
        scenes[f"{which}_spin"] = uniform(count, -math.pi, math.pi, generator)
    return scenes


def render(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    first = {name.removeprefix("first_"): value for name, value in scenes.items()}
    picture = plain.ground_of(first, canvas)
    t = canvas.t[..., None]
    basis = torch.cat([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], -1)
    for which in ("first", "second"):
        own = {name.removeprefix(f"{which}_"): value for name, value in scenes.items()}
        centre = basis @ own["points"]
        dx, dy = canvas.x - per_clip(centre[..., 0]), canvas.y - per_clip(centre[..., 1])
        turn = per_clip(own["spin"][:, None] * canvas.t)
        x, y = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
        radius = per_clip(own["radius"][:, None])
        mask = coverage(shape_distance(own["attributes"][:, 2], x, y, radius), canvas.edge)
        picture = over(picture, mask, solid(own["rgb"]))
    return picture


def captions(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """Both objects and the background."""
    colours, shapes = ATTRIBUTES["colour"], ATTRIBUTES["shape"]
    sentences = []
    pairs = zip(
        scenes["first_attributes"].tolist(), scenes["second_attributes"].tolist(), strict=True
    )
    for one, two in pairs:
        sentences.append(
            f"a {colours[one[1]]} {shapes[one[2]]} and a {colours[two[1]]} {shapes[two[2]]} "
            f"follow curved paths on a {BACKGROUNDS[one[4]]} background"
        )
    return sentences


PATH = Kind("path", sample, render, captions)
