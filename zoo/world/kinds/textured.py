"""Scenes with more on the background: gradients between two colours, and four textures."""

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
    points,
    smooth_field,
    solid,
    uniform,
)
from zoo.world.kinds import plain
from zoo.world.kinds.kind import Kind
from zoo.world.words import BACKGROUND_RGB, BACKGROUNDS, TEXTURES


def _paint_object(scenes: Scenes, canvas: Canvas, ground: Tensor) -> Tensor:
    dx, dy, radius, mask = plain.offsets_of(scenes, canvas)
    return over(ground, mask, plain.object_of(scenes, dx, dy, radius))


def sample_gradient(count: int, generator: torch.Generator) -> Scenes:
    """Plain scenes whose background runs into a second background colour, slowly turning."""
    scenes = plain.sample(count, generator)
    step = 1 + choice(count, len(BACKGROUNDS) - 1, generator)
    second = (scenes["attributes"][:, 4] + step) % len(BACKGROUNDS)
    return scenes | {
        "second": second,
        "second_rgb": torch.tensor(list(BACKGROUND_RGB.values()))[second],
        "angle": uniform(count, 0, 2 * math.pi, generator),
        "turn": uniform(count, -0.6, 0.6, generator),
        "radial": (torch.rand(count, generator=generator) < 0.3).float(),
    }


def render_gradient(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    angle = scenes["angle"][:, None] + scenes["turn"][:, None] * canvas.t
    x, y = canvas.x - 0.5, canvas.y - 0.5
    linear = 0.5 + 0.7 * (x * per_clip(angle.cos()) + y * per_clip(angle.sin()))
    radial = torch.sqrt(x * x + y * y) * 1.4
    blend = torch.lerp(linear, radial.expand_as(linear), per_clip(scenes["radial"])).clamp(0, 1)
    return _paint_object(
        scenes, canvas, over(solid(scenes["ground"]), blend, solid(scenes["second_rgb"]))
    )


def captions_gradient(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """The grammar's sentence with two background colours."""
    sentences = []
    for row, second in zip(scenes["attributes"].tolist(), scenes["second"].tolist(), strict=True):
        head = text.sentence(row).removesuffix(" background")
        sentences.append(f"{head} to {BACKGROUNDS[second]} gradient background")
    return sentences


def sample_textured(count: int, generator: torch.Generator) -> Scenes:
    """Plain scenes over stripes, checks, dots or speckles in two tones, resting or drifting."""
    drifting = (torch.rand(count, generator=generator) < 0.4).float()
    return plain.sample(count, generator) | {
        "texture": choice(count, len(TEXTURES), generator),
        "angle": uniform(count, 0, math.pi, generator),
        "period": uniform(count, 0.14, 0.3, generator),
        "tone": uniform(count, 0.10, 0.24, generator),
        "drift": uniform(count, -0.35, 0.35, generator) * drifting,
        "seed": choice(count, 100_000, generator),
    }


def pattern(scenes: Scenes, canvas: Canvas) -> Tensor:
    """The texture as a number in -1..1, ``[batch, frames, height, width]``."""
    angle, period = per_clip(scenes["angle"]), per_clip(scenes["period"])
    move = per_clip(scenes["drift"][:, None] * canvas.t)
    u = canvas.x * angle.cos() + canvas.y * angle.sin() - move
    v = -canvas.x * angle.sin() + canvas.y * angle.cos()
    wave_u, wave_v = (torch.sin(2 * math.pi * w / period) for w in (u, v))
    soft = canvas.edge * 6 / period
    stripes = (wave_u / soft).clamp(-1, 1)
    checks = (wave_u * wave_v / soft).clamp(-1, 1)
    from_dot = torch.sqrt(
        (torch.remainder(u, period) - period / 2) ** 2
        + (torch.remainder(v, period) - period / 2) ** 2
    )
    dots = 2 * coverage(from_dot - 0.3 * period, canvas.edge) - 1
    shift = scenes["drift"][:, None] * canvas.t
    where = points(canvas, torch.ones_like(scenes["period"]), shift, torch.zeros_like(shift))
    speckles = smooth_field(scenes["seed"], 12, where)
    kind = per_clip(scenes["texture"])
    return torch.where(
        kind == 0, stripes, torch.where(kind == 1, checks, torch.where(kind == 2, dots, speckles))
    )


def render_textured(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    tone = per_clip(scenes["tone"]) * pattern(scenes, canvas)
    ground = plain.ground_of(scenes, canvas)
    textured = (ground * (1 + tone[:, None]) + 0.25 * tone[:, None]).clamp(0, 1)
    return _paint_object(scenes, canvas, textured)


def captions_textured(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """The grammar's sentence with the texture before the background's colour."""
    rows = zip(scenes["attributes"].tolist(), scenes["texture"].tolist(), strict=True)
    return [
        text.sentence(row).replace(" on a ", f" on a {TEXTURES[texture]} ") for row, texture in rows
    ]


def sample_noisy(count: int, generator: torch.Generator) -> Scenes:
    """Plain scenes whose object is a patch filled with coloured noise that moves along."""
    return plain.sample(count, generator) | {
        "seed": choice(count, 100_000, generator),
        "grain": uniform(count, 0.8, 1.6, generator),
        "strength": uniform(count, 0.12, 0.3, generator),
    }


def render_noisy(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    dx, dy, radius, mask = plain.offsets_of(scenes, canvas)
    x, y, _ = plain.track_of(scenes, canvas)
    where = points(canvas, scenes["grain"], x, y)
    channels = [smooth_field(scenes["seed"] * 3 + c, 10, where) for c in range(3)]
    noise = torch.stack(channels, 1) * scenes["strength"][:, None, None, None, None]
    colour = plain.object_of(scenes, dx, dy, radius) * 0.85 + noise
    return over(plain.ground_of(scenes, canvas), mask, colour.clamp(0, 1))


def captions_noisy(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """The grammar's sentence with "noisy" before the colour."""
    sentences = []
    for row in scenes["attributes"].tolist():
        article, size, rest = text.sentence(row).split(" ", 2)
        sentences.append(f"{article} {size} noisy {rest}")
    return sentences


GRADIENT = Kind("gradient", sample_gradient, render_gradient, captions_gradient)
TEXTURED = Kind("textured", sample_textured, render_textured, captions_textured)
NOISY = Kind("noisy", sample_noisy, render_noisy, captions_noisy)
