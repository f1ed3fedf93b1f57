"""Cartoon faces that talk, smile or keep still, with small mouths: the world of speech."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.world.draw import Canvas, Scenes, choice, coverage, ellipse, over, per_clip, solid, uniform
from zoo.world.kinds.kind import Kind
from zoo.world.words import BACKGROUND_RGB, BACKGROUNDS, EYES, HAIR, MOUTHS

_SKIN = ((1.0, 0.86, 0.72), (0.94, 0.76, 0.60), (0.78, 0.57, 0.40), (0.55, 0.37, 0.25))
_HAIR = (
    (0.08, 0.07, 0.07),
    (0.36, 0.22, 0.12),
    (0.92, 0.78, 0.42),
    (0.70, 0.26, 0.12),
    (0.62, 0.62, 0.62),
)
_EYES = ((0.36, 0.20, 0.08), (0.20, 0.45, 0.85), (0.20, 0.55, 0.25), (0.45, 0.48, 0.50))
_TALKS, _SMILES, _SINGS, _SILENT = range(len(MOUTHS))


def sample(count: int, generator: torch.Generator) -> Scenes:
    """Faces with hair, eyes, skin, a mouth that does one of four things, and a light nod."""
    background = choice(count, len(BACKGROUNDS), generator)
    hair, eyes = choice(count, len(HAIR), generator), choice(count, len(EYES), generator)
    skin = torch.tensor(_SKIN)[choice(count, len(_SKIN), generator)]
    return {
        "background": background,
        "hair": hair,
        "eyes": eyes,
        "mouth": choice(count, len(MOUTHS), generator),
        "ground": torch.tensor(list(BACKGROUND_RGB.values()))[background],
        "skin_rgb": skin + (torch.rand(count, 3, generator=generator) - 0.5) * 0.06,
        "hair_rgb": torch.tensor(_HAIR)[hair],
        "eyes_rgb": torch.tensor(_EYES)[eyes],
        "size": uniform(count, 0.26, 0.36, generator),
        "x": uniform(count, 0.42, 0.58, generator),
        "y": uniform(count, 0.48, 0.58, generator),
        "nod": uniform(count, -0.03, 0.03, generator),
        "sway": uniform(count, -0.04, 0.04, generator),
        "pace": uniform(count, 2.5, 6.0, generator),
        "phase": uniform(count, 0, 2 * math.pi, generator),
        "wide": uniform(count, 0.22, 0.32, generator),
        "blink": uniform(count, 0.1, 0.9, generator),
    }


def opening(scenes: Scenes, canvas: Canvas) -> Tensor:
    """How far the mouth is open in each frame, 0..1, ``[batch, frames]``."""
    phase, t = scenes["phase"][:, None], canvas.t
    pace = scenes["pace"][:, None]
    syllables = torch.sin(math.pi * pace * t + phase) ** 2 * (
        0.6 + 0.4 * torch.sin(2.3 * math.pi * pace * t + 2 * phase)
    )
    held = 0.75 + 0.25 * torch.sin(math.pi * t * 2 + phase)
    mouth = scenes["mouth"][:, None]
    return torch.where(mouth == _TALKS, syllables, torch.where(mouth == _SINGS, held, 0.0))


def render(scenes: Scenes, canvas: Canvas) -> Tensor:
    """``[batch, 3, frames, height, width]`` in 0..1."""
    t = canvas.t
    size = per_clip(scenes["size"])
    wave = torch.sin(2 * math.pi * t + scenes["phase"][:, None])
    cx = per_clip(scenes["x"][:, None] + scenes["sway"][:, None] * wave)
    cy = per_clip(scenes["y"][:, None] + scenes["nod"][:, None] * wave)
    x, y = (canvas.x - cx) / size, (canvas.y - cy) / size
    edge = canvas.edge / size

    def one(value: float) -> Tensor:
        return torch.full_like(size, value)

    picture = over(
        solid(scenes["ground"]),
        coverage(ellipse(x, y + 0.12, one(0.98), one(1.12)), edge),
        solid(scenes["hair_rgb"]),
    )
    face = coverage(ellipse(x, y - 0.10, one(0.78), one(0.95)), edge)
    tone = 1 - 0.10 * (x * x)
    picture = over(picture, face, solid(scenes["skin_rgb"]) * tone[:, None])
    fringe = coverage(torch.maximum(ellipse(x, y + 0.10, one(0.86), one(0.98)), y + 0.48), edge)
    picture = over(picture, fringe, solid(scenes["hair_rgb"]))

    closed = torch.exp(-(((t - scenes["blink"][:, None]) / 0.035) ** 2))
    lid = per_clip(1 - 0.85 * closed)
    for side in (-1.0, 1.0):
        ex, ey = x - side * 0.34, y + 0.08
        white = coverage(ellipse(ex, ey, one(0.17), 0.12 * lid), edge)
        picture = over(picture, white, torch.ones_like(solid(scenes["ground"])) * 0.96)
        iris = coverage(torch.sqrt(ex * ex + ey * ey + 1e-9) - 0.085, edge) * white
        picture = over(picture, iris, solid(scenes["eyes_rgb"]))
    nose = coverage(ellipse(x, y - 0.24, one(0.06), one(0.09)), 2 * edge) * 0.35
    picture = over(picture, nose, solid(scenes["skin_rgb"]) * 0.7)

    wide = per_clip(scenes["wide"])
    open_ = per_clip(opening(scenes, canvas))
    smile = torch.where(per_clip(scenes["mouth"]) == _SMILES, 0.9, 0.25)
    my = y - 0.56 + smile * x * x
    lips = coverage(ellipse(x, my, wide, 0.055 + 0.17 * open_), edge)
    picture = over(picture, lips, solid(torch.tensor([[0.72, 0.22, 0.24]], device=x.device)))
    inside = coverage(ellipse(x, my, 0.82 * wide, 0.005 + 0.14 * open_), edge)
    inside = inside * (open_ * 6).clamp(0, 1)
    return over(picture, inside, solid(torch.tensor([[0.22, 0.05, 0.07]], device=x.device)))


def captions(scenes: Scenes, generator: torch.Generator) -> list[str]:
    """Hair, eyes, what the mouth does, and the background."""
    names = ("hair", "eyes", "mouth", "background")
    sentences = []
    for hair, eyes, mouth, background in zip(*(scenes[n].tolist() for n in names), strict=True):
        sentences.append(
            f"a cartoon face with {HAIR[hair]} hair and {EYES[eyes]} eyes {MOUTHS[mouth]} "
            f"on a {BACKGROUNDS[background]} background"
        )
    return sentences


FACE = Kind("face", sample, render, captions)
