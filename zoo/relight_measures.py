"""What is measured on relit clips: the light's direction, the object's outline, flicker."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from zoo.light_judge import Reading, flicker, likeness, read
from zoo.train_vae import summary
from zoo.training import mean_of
from zoo.world.words import LIGHTS

#: what is promised of the bundled weights
RIGHT, OUTLINE, FLICKER = 0.9, 0.9, 1.2


def read_all(clips: Tensor, threads: int = 8) -> list[Reading]:
    """Read ``[clips, 3, frames, height, width]`` on several CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(read, clips.cpu().unbind()))
    finally:
        torch.set_num_threads(before)


def relit(given: Sequence[Reading], drawn: Sequence[Reading], light: Tensor) -> dict[str, Any]:
    """Figures of relit clips.

    Args:
        given: of what was given: the foregrounds.
        drawn: of what came out.
        light: asked lights, ``[clips]``.

    Returns:
        ``right``: share of right directions; ``shuffled``: the same held against other clips' words;
        ``outline``: IoU with the foreground's object, mean and worst; ``flicker``: how often that of the
        foregrounds, inside of the object and of the whole picture; ``mistakes``.
    """
    pairs = list(zip(given, drawn, strict=True))
    outlines = [likeness(one, other) for one, other in pairs]
    return directions(drawn, light) | {
        "outline": summary(outlines),
        "outline_below_0.9": round(mean_of([float(value < 0.9) for value in outlines]), 4),
        "flicker": {
            "inside": _ratio([(flicker(g.inside), flicker(d.inside)) for g, d in pairs]),
            "whole": _ratio([(flicker(g.whole), flicker(d.whole)) for g, d in pairs]),
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


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The mean of what came out over the mean of what was given."""
    before, after = (mean_of(column) for column in zip(*pairs, strict=True))
    return round(after / max(before, 1e-6), 3)
