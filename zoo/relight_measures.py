"""What is measured on relit clips: the light's direction, the object's outline, flicker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.light_judge import Reading, flicker, likeness, read
from zoo.measures import in_threads
from zoo.training import mean_of
from zoo.world.words import LIGHTS

#: what is promised of the bundled weights
RIGHT, OUTLINE, FLICKER = 0.9, 0.9, 1.2


def read_all(clips: Tensor) -> list[Reading]:
    """Read ``[clips, 3, frames, height, width]``."""
    return in_threads(read, clips.cpu().unbind())


def relit(
    given: Sequence[Reading],
    drawn: Sequence[Reading],
    light: Tensor,
    others: Mapping[str, Tensor],
) -> dict[str, Any]:
    """Figures of relit clips.

    Args:
        given: of what was given: the foregrounds.
        drawn: of what came out.
        light: asked lights, ``[clips]``.
        others: what flicker is held against beside the foregrounds: name -> ``brightness`` of its clips.

    Returns:
        ``right``: share of right directions; ``shuffled``: the same held against other clips' words;
        ``outline``: IoU with the foreground's object, mean and worst; ``flicker``: of the whole picture how
        often that of the foregrounds (``input``) and of the others, and that of the object in levels of 255;
        ``mistakes``.
    """
    pairs = list(zip(given, drawn, strict=True))
    after = [flicker(d.whole) for d in drawn]
    outlines = [likeness(one, other) for one, other in pairs]
    return directions(drawn, light) | {
        "outline": {"mean": round(mean_of(outlines), 3), "worst": round(min(outlines), 3)},
        "outline_below_0.9": round(mean_of([float(value < 0.9) for value in outlines]), 4),
        "flicker": {
            "input": _ratio([flicker(g.whole) for g in given], after),
            **{
                name: _ratio([flicker(levels) for levels in steady], after)
                for name, steady in others.items()
            },
            "object": round(mean_of([flicker(d.inside) for d in drawn]), 3),
        },
    }


def directions(drawn: Sequence[Reading], light: Tensor) -> dict[str, Any]:
    """Only the directions: ``right``, ``shuffled`` and ``mistakes``."""
    count = len(drawn)
    seen = torch.tensor([reading.light for reading in drawn])
    order = torch.randperm(count, generator=torch.Generator().manual_seed(12))
    wrong = (seen != light).nonzero().flatten().tolist()
    return {
        "right": round(1 - len(wrong) / count, 4),
        "shuffled": round(float((seen == light[order]).float().mean()), 4),
        "mistakes": [
            f"{number}: {LIGHTS[int(light[number])]} -> {drawn[number].word}" for number in wrong
        ],
    }


def brightness(clips: Tensor) -> Tensor:
    """Mean of each frame of ``[clips, 3, frames, height, width]`` (-1..1), in 0..1: ``[clips, frames]``."""
    return (clips.mean(dim=(1, 3, 4)) + 1) / 2


def _ratio(before: Sequence[float], after: Sequence[float]) -> float:
    return round(mean_of(after) / max(mean_of(before), 1e-6), 3)
