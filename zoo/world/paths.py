"""Paths for objects to follow: lines, curves, windings and rests, each at its own changing speed.

A path is ``[paths, KNOTS, 2]``: places in the unit square at evenly spaced times, from the first frame to the
last. A path knows no size of objects; ``fit`` moves it to where a given object has room.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.world.draw import choice, uniform

KNOTS = 65
FORMS = ("still", "line", "curve", "winding", "arc", "back")
#: how often each form is drawn
SHARES = {"still": 0.06, "line": 0.3, "curve": 0.28, "winding": 0.16, "arc": 0.12, "back": 0.08}
LAWS = ("steady", "changing", "stops")
LAW_SHARES = {"steady": 0.35, "changing": 0.35, "stops": 0.3}
#: knots of a video frame of 33, and the farthest that a path goes in one
FRAME, FASTEST = 2, 0.09
#: lengths of a line, as fractions of the room
LINE = (0.15, 1.1)


def draw_forms(count: int, generator: torch.Generator) -> Tensor:
    """``[count]`` numbers of ``FORMS``."""
    shares = torch.tensor([SHARES[name] for name in FORMS])
    return torch.multinomial(shares, count, replacement=True, generator=generator)


def draw_laws(count: int, generator: torch.Generator) -> Tensor:
    """``[count]`` numbers of ``LAWS``."""
    shares = torch.tensor([LAW_SHARES[name] for name in LAWS])
    return torch.multinomial(shares, count, replacement=True, generator=generator)


def paths(forms: Tensor, laws: Tensor, generator: torch.Generator) -> Tensor:
    """Paths of these forms, walked by these laws of time.

    Returns:
        ``[paths, KNOTS, 2]`` in 0..1.
    """
    progress = laws_of(laws, generator)
    count = len(forms)
    candidates = torch.stack(
        [
            torch.rand(count, 1, 2, generator=generator).expand(-1, KNOTS, -1),
            _line(progress, generator),
            _bezier(progress, 4, generator),
            _bezier(progress, 7, generator),
            _arc(progress, generator),
            _line((math.pi * progress).sin(), generator),
        ]
    )
    places = candidates[forms, torch.arange(count)].clamp(0, 1)
    # a path that would be too fast anywhere becomes smaller
    fastest = (places[:, FRAME:] - places[:, :-FRAME]).norm(dim=-1).amax(1)
    middle = places.mean(1, keepdim=True)
    calm: Tensor = middle + (FASTEST / fastest.clamp(min=FASTEST))[:, None, None] * (
        places - middle
    )
    return calm


def laws_of(laws: Tensor, generator: torch.Generator) -> Tensor:
    """How far along its path an object is: ``[paths, KNOTS]``, from 0 to 1, never going back."""
    count, cells = len(laws), KNOTS - 1
    time = (torch.arange(cells) + 0.5) / cells
    waves = torch.zeros(count, cells)
    for turn in (0.5, 1.0, 1.5):
        phase = uniform(count, 0, 2 * math.pi, generator)[:, None]
        waves = waves + uniform(count, 0, 0.8, generator)[:, None] * torch.sin(
            2 * math.pi * turn * time + phase
        )
    changing = waves.exp()
    # one rest or two, with soft ends
    moving = torch.ones(count, cells)
    for rest in range(2):
        middle = uniform(count, 0.1, 0.9, generator)[:, None]
        half = uniform(count, 0.06, 0.2, generator)[:, None]
        wanted = 1.0 if rest == 0 else (torch.rand(count, 1, generator=generator) < 0.4).float()
        dip = ((half + 0.04 - (time - middle).abs()) / 0.04).clamp(0, 1)
        moving = moving * (1 - wanted * dip)
    speed = torch.stack([torch.ones(count, cells), changing, moving + 1e-4])
    chosen = speed[laws, torch.arange(count)]
    whole = torch.cat([torch.zeros(count, 1), chosen.cumsum(1)], dim=1)
    return whole / whole[:, -1:]


def at_times(places: Tensor, times: Tensor) -> Tensor:
    """Where paths ``[batch, KNOTS, 2]`` are at ``times [frames]`` in 0..1: ``[batch, frames, 2]``."""
    knot = times.clamp(0, 1) * (KNOTS - 1)
    before = knot.floor().long().clamp(max=KNOTS - 2)
    return torch.lerp(places[:, before], places[:, before + 1], (knot - before)[None, :, None])


def fit(places: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Paths of the unit square within the rectangles from ``low [batch, 2]`` to ``high``."""
    return low[:, None] + (high - low)[:, None] * places


def _line(progress: Tensor, generator: torch.Generator) -> Tensor:
    count = len(progress)
    angle = uniform(count, 0, 2 * math.pi, generator)
    way = torch.stack([angle.cos(), angle.sin()], -1)
    longest = (1 / way.abs().clamp(min=1e-3)).amin(1)
    length = torch.minimum(uniform(count, *LINE, generator), longest)
    way = way * length[:, None]
    start = (-way).clamp(min=0) + torch.rand(count, 2, generator=generator) * (1 - way.abs())
    return start[:, None] + progress[..., None] * way[:, None]


def _bezier(progress: Tensor, points: int, generator: torch.Generator) -> Tensor:
    """Curves with so many control points; the more, the more they wind."""
    control = torch.rand(len(progress), points, 2, generator=generator)
    if points > 4:  # such a curve stays near its middle: let it reach further out
        control = (control - 0.5) * 1.6 + 0.5
    degree = points - 1
    basis = torch.stack(
        [
            math.comb(degree, k) * progress**k * (1 - progress) ** (degree - k)
            for k in range(points)
        ],
        -1,
    )
    return basis @ control


def _arc(progress: Tensor, generator: torch.Generator) -> Tensor:
    count = len(progress)
    radius = uniform(count, 0.15, 0.5, generator)[:, None]
    centre = radius + (1 - 2 * radius) * torch.rand(count, 2, generator=generator)
    turns = uniform(count, 0.25, 1.0, generator)
    turns = torch.where(choice(count, 2, generator) == 0, turns, -turns)
    angle = uniform(count, 0, 2 * math.pi, generator)[:, None]
    angle = angle + 2 * math.pi * turns[:, None] * progress
    return centre[:, None] + radius[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
