"""The conditioning edit: what a track covers in the first frame is pasted along the track.

An image-to-video model is told ``y``: four mask channels (one where a frame is given) and the latents of a
video whose first frame is the picture. The edit samples the latent of frame 0 under the start of each track,
blends it with a Gaussian weight into the later frames where the track is then, and puts the sum of the weights
into the mask channels. It runs once, before the first step; nothing inside the transformer changes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wan_plugin_ati.temperature import TEMPERATURE

TOPK = 2
MASK_CHANNELS = 4
GROUP = 4
_EPSILON = 1e-5


def edit(
    y: Tensor, tracks: Tensor, *, temperature: float = TEMPERATURE, topk: int = TOPK
) -> Tensor:
    """The conditioning with the tracks in it.

    ``y`` is [4 + channels, T, h, w]: mask, then latents of the picture's video. ``tracks`` is
    [4 (T - 1) + 1, N, 4], the processed form: (t, x, y, v) of each video frame, the short side of the
    picture from -1 to 1 and its centre at 0, v = 1 where the point is seen and -1 where it is hidden.
    ``temperature`` narrows the pasted spot; at most ``topk`` tracks count in one cell.

    Returns a new float32 tensor like ``y``; its first frame is unchanged but for the mask, which is one. The
    largest tensor on the way, besides ``y`` itself, holds one latent frame for each track.

    Raises ValueError where the number of track frames does not belong to ``T``.
    """
    _, frames, height, width = y.shape
    if tracks.shape[0] != GROUP * (frames - 1) + 1 or tracks.shape[2:] != (4,):
        raise ValueError(
            f"tracks {tuple(tracks.shape)} do not belong to conditioning {tuple(y.shape)}"
        )
    edited = y.to(torch.float32, copy=True)
    if not tracks.shape[1]:
        return edited
    tracks = tracks.to(edited)
    shortest = min(height, width)
    reach = torch.tensor([width / shortest, height / shortest]).to(edited)
    features = _under_the_starts(edited[MASK_CHANNELS:, 0], tracks[0, :, 1:3] / reach)
    centres, strengths = _per_latent_frame(tracks)
    columns = torch.linspace(-float(reach[0]), float(reach[0]), width, device=y.device)
    rows = torch.linspace(-float(reach[1]), float(reach[1]), height, device=y.device)
    edited[:MASK_CHANNELS, 0] = 1
    for k in range(1, frames):
        weights = _spots(centres[k - 1], columns, rows, temperature)
        weights *= strengths[k - 1, :, None, None]
        weights = _strongest(weights, topk)
        total = weights.sum(0)
        latent = edited[MASK_CHANNELS:, k]
        latent *= 1 - total.clamp(0, 1)
        latent += torch.einsum("nc,nhw->chw", features, weights)
        edited[:MASK_CHANNELS, k] = total
    return edited


def _under_the_starts(latent: Tensor, starts: Tensor) -> Tensor:
    """What ``latent`` [channels, h, w] has at ``starts`` [N, 2], from -1 to 1: [N, channels].

    A start on the border gets half of its feature (a corner a quarter): beyond the last cell's centre
    lies nothing, and the published weights have learned it so.
    """
    grid = starts.clamp(-1, 1)[None, None]
    sampled = F.grid_sample(
        latent[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return sampled[0, :, 0].T


def _per_latent_frame(tracks: Tensor) -> tuple[Tensor, Tensor]:
    """Mean position over the seen samples of each group of frames, [T - 1, N, 2], and strength [T - 1, N]."""
    groups = tracks[1:].reshape(-1, GROUP, *tracks.shape[1:])
    seen = groups[..., 3].clamp(0, 1)
    count = seen.sum(1)
    centres = (groups[..., 1:3] * seen[..., None]).sum(1) / (count[..., None] + _EPSILON)
    return centres, count.clamp(0, 1)


def _spots(centres: Tensor, columns: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """The Gaussian of each track on the grid, [N, h, w]."""
    across = (centres[:, 0, None] - columns) ** 2
    down = (centres[:, 1, None] - rows) ** 2
    spots = down[:, :, None] + across[:, None, :]
    return spots.mul_(-temperature).exp_()


def _strongest(weights: Tensor, topk: int) -> Tensor:
    """The weights [N, h, w] with all but the ``topk`` largest of each cell set to zero."""
    if topk >= weights.shape[0]:
        return weights
    kept = weights.topk(topk, dim=0)
    return torch.zeros_like(weights).scatter_(0, kept.indices, kept.values)
