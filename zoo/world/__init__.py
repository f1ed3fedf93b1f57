"""The toy world: scenes drawn on whole batches, their captions, and what is held out.

``draw_clips`` is all that training needs: clips of a kind, or of a mixture of kinds, by seed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.world.draw import Scenes, canvas
from zoo.world.kinds.face import FACE
from zoo.world.kinds.kind import Kind
from zoo.world.kinds.lit import LIT
from zoo.world.kinds.path import PATH
from zoo.world.kinds.plain import PLAIN
from zoo.world.kinds.relief import RELIEF
from zoo.world.kinds.textured import GRADIENT, NOISY, TEXTURED
from zoo.world.kinds.tracked import TRACKED

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (PLAIN, LIT, GRADIENT, TEXTURED, NOISY, RELIEF, FACE, PATH, TRACKED)
}
FRAMES, HEIGHT, WIDTH = 33, 96, 96


def render(
    kind: Kind,
    scenes: Scenes,
    device: torch.device | str = "cpu",
    size: tuple[int, int, int] = (FRAMES, HEIGHT, WIDTH),
) -> Tensor:
    """Draw scenes: ``[batch, 3, frames, height, width]`` in -1..1 on ``device``."""
    moved = {name: value.to(device) for name, value in scenes.items()}
    return kind.render(moved, canvas(*size, device)).clamp(0, 1) * 2 - 1


def coarsen(clips: Tensor, factor: int, *, blocks: bool) -> Tensor:
    """What is left of clips after a camera ``factor`` times as coarse, at the old size."""
    batch, _, frames, height, width = clips.shape
    flat = clips.transpose(1, 2).reshape(batch * frames, 3, height, width)
    small = F.avg_pool2d(flat, factor)
    if blocks:
        large = F.interpolate(small, size=(height, width), mode="nearest")
    else:
        large = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return large.view(batch, frames, 3, height, width).transpose(1, 2)


def draw_clips(
    name: str,
    count: int,
    seed: int,
    device: torch.device | str = "cpu",
    size: tuple[int, int, int] = (FRAMES, HEIGHT, WIDTH),
) -> Tensor:
    """``count`` clips of a kind by name, or "lowres": all kinds in turn, seen coarsely.

    Returns:
        ``[batch, 3, frames, height, width]`` in -1..1.
    """
    generator = torch.Generator().manual_seed(seed)
    if name != "lowres":
        kind = KINDS[name]
        return render(kind, kind.sample(count, generator), device, size)
    parts = []
    shares = torch.arange(count) % len(KINDS)
    for index, kind in enumerate(KINDS.values()):
        share = int((shares == index).sum())
        if share:
            clips = render(kind, kind.sample(share, generator), device, size)
            factor = 2 + int(torch.randint(2, (), generator=generator))
            blocks = bool(torch.rand((), generator=generator) < 0.5)
            parts.append(coarsen(clips, factor, blocks=blocks))
    return torch.cat(parts)


def draw_mixture(
    shares: Mapping[str, float],
    count: int,
    seed: int,
    device: torch.device | str = "cpu",
    size: tuple[int, int, int] = (FRAMES, HEIGHT, WIDTH),
) -> Tensor:
    """``count`` clips of several kinds in random order; the kinds' shares are exact but rounding.

    Returns:
        ``[batch, 3, frames, height, width]`` in -1..1.
    """
    total = sum(shares.values())
    bounds = torch.tensor([0.0, *shares.values()]).cumsum(0) / total * count
    edges = [round(float(bound)) for bound in bounds]
    parts = [
        draw_clips(name, after - before, seed * 31 + index, device, size)
        for index, (name, before, after) in enumerate(
            zip(shares, edges[:-1], edges[1:], strict=True)
        )
        if after > before
    ]
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).to(device)
    return torch.cat(parts)[order]
