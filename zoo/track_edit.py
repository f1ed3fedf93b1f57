"""The conditioning edit of tracks for whole batches on the training device, and which tracks are told.

``edit`` is the rule of the published ATI models, as ``wan_plugin_ati.motion.edit`` computes it for one clip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: tracks of a clip: of two objects their centres and another point each, and two places of the background
SLOTS = 6
GROUP, TOPK, MASK = 4, 2, 4
#: how often a clip is told nothing at all, an object is told nothing, a track ends early, an object has its
#: other point told beside or instead of its centre, and a place of the background is told to stay
NOTHING, UNTOLD, TAIL, BESIDE, INSTEAD, STAYS = 0.08, 0.08, 0.12, 0.15, 0.12, 0.12


def scaled_temperature(height: int, width: int) -> float:
    """The temperature that reaches as many cells as 220 does on 60 rows of latents."""
    temperature: float = 220.0 * ((min(height, width) - 1) / 59) ** 2
    return temperature


def processed(tracks: Tensor, height: int, width: int) -> Tensor:
    """Tracks ``[..., (x, y, seen)]`` in pixels as the edit wants them: ``[..., (t, x, y, v)]``, t unused."""
    middle = torch.tensor([width / 2, height / 2]).to(tracks)
    places = (tracks[..., :2] - middle) * 2 / min(height, width)
    seen = 2 * tracks[..., 2:] - 1
    return torch.cat([torch.zeros_like(seen), places, seen], dim=-1)


def edit(y: Tensor, tracks: Tensor, temperature: float, topk: int = TOPK) -> Tensor:
    """Conditioning ``[batch, 4 + channels, T, h, w]`` with tracks ``[batch, 4 (T - 1) + 1, N, 4]`` in it."""
    y, tracks = y.float(), tracks.float()
    height, width = y.shape[-2:]
    short = min(height, width)
    reach = torch.tensor([width / short, height / short], device=y.device)
    starts = (tracks[:, 0, :, 1:3] / reach).clamp(-1, 1)[:, None]
    features = F.grid_sample(y[:, MASK:, 0], starts, align_corners=False)[:, :, 0]
    later = tracks[:, 1:]
    groups = later.reshape(len(later), -1, GROUP, *later.shape[2:])
    seen = groups[..., 3].clamp(0, 1)
    count = seen.sum(2)
    centre = (groups[..., 1:3] * seen[..., None]).sum(2) / (count[..., None] + 1e-5)
    columns = torch.linspace(-1, 1, width, device=y.device) * (width / short)
    rows = torch.linspace(-1, 1, height, device=y.device) * (height / short)
    across = (centre[..., 0, None] - columns).square()
    down = (centre[..., 1, None] - rows).square()
    weight = (-temperature * (down[..., None] + across[..., None, :])).exp()
    weight = weight * count.clamp(0, 1)[..., None, None]
    if topk < weight.shape[2]:
        kept = weight.topk(topk, dim=2)
        weight = torch.zeros_like(weight).scatter_(2, kept.indices, kept.values)
    total = weight.sum(2)
    pasted = torch.einsum("bcn,btnhw->bcthw", features, weight)
    mixed = pasted + y[:, MASK:, 1:] * (1 - total.clamp(0, 1))[:, None]
    latents = torch.cat([y[:, MASK:, :1], mixed], dim=2)
    mask = torch.cat([torch.ones_like(total[:, :1]), total], dim=1)
    return torch.cat([mask[:, None].expand(-1, MASK, -1, -1, -1), latents], dim=1)


def told(
    centres: Tensor, radii: Tensor, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Which tracks a batch is told, so that a model learns from many, few, short and displaced ones.

    Args:
        centres: ``[batch, frames, 2, 3]`` of both objects in pixels; see ``zoo.world.kinds.tracked``.
        radii: of both objects in pixels, ``[batch, 2]``.
        size: height and width of the picture.

    Returns:
        Processed tracks ``[batch, frames, SLOTS, 4]``.
    """
    batch, frames = centres.shape[:2]
    device = centres.device

    def dice(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, device=device, generator=generator)

    way = dice(2, 2) * 2 - 1
    points = centres.clone()
    points[..., :2] += (way * 0.6 * radii[..., None])[:, None]
    instead, beside = dice(2) < INSTEAD, dice(2) < BESIDE
    keep_centre = (~instead).float()
    keep_point = (instead | beside).float()
    objects = torch.cat([centres, points], dim=2)
    keep = torch.cat([keep_centre, keep_point], dim=1)
    keep = keep * (dice(2) >= UNTOLD).float().repeat(1, 2)
    # a track that ends: nothing is told of its last frames
    last = torch.where(dice(4) < TAIL, dice(4) * frames, float(frames))
    time = torch.arange(frames, device=device)
    alive = (time[None, :, None] < last[:, None]).float()

    limits = torch.tensor([size[1], size[0]], device=device, dtype=torch.float32)
    places = dice(2, 2) * limits
    # a place of the background lies on no object in the first frame, nor on its way
    away = (places[:, None, :, None] - centres[:, :, None, :, :2]).norm(dim=-1)
    free = ((away > 1.8 * radii[:, None, None]) | (centres[:, :, None, :, 2] == 0)).all(-1).all(1)
    stays = ((dice(2) < STAYS) & free).float()[:, None].expand(-1, frames, -1)
    still = torch.cat([places[:, None].expand(-1, frames, -1, -1), stays[..., None]], dim=-1)

    seen = objects[..., 2] * keep[:, None] * alive
    tracks = torch.cat([torch.cat([objects[..., :2], seen[..., None]], -1), still], dim=2)
    tracks[..., 2] *= (dice(1, 1) >= NOTHING).float()
    return processed(tracks, *size)


def near(centres: Tensor, radii: Tensor, grid: tuple[int, int], pixels: int = 8) -> Tensor:
    """How near each cell of the latents is to an object, 1 on it to 0: ``[batch, T, h, w]``."""
    groups = torch.cat([centres[:, :1], centres[:, 4::GROUP]], dim=1)
    y = (torch.arange(grid[0], device=centres.device) + 0.5) * pixels
    x = (torch.arange(grid[1], device=centres.device) + 0.5) * pixels
    across = (groups[..., 0, None] - x).square()
    down = (groups[..., 1, None] - y).square()
    distance = (down[..., None] + across[..., None, :]).sqrt()
    reach = radii[:, None, :, None, None]
    inside = (1 - (distance - reach) / pixels).clamp(0, 1) * groups[..., 2, None, None]
    return inside.amax(2)
