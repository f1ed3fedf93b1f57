"""From latents, timesteps and image features to tokens, and from tokens back to latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from wan_core.models.wan.config import PATCH
from wan_core.models.wan.layers import Float32Linear, modulated_norm
from wan_core.models.wan.rope import Grid


def grid_of(latents: Tensor) -> Grid:
    """Token grid (frames, height, width) of latents ``[…, frames, height, width]``.

    Raises:
        ValueError: height or width is odd.
    """
    frames, height, width = latents.shape[-3:]
    if height % PATCH[1] or width % PATCH[2]:
        raise ValueError(f"latents of {height}x{width} are no whole number of patches {PATCH[1:]}")
    return frames, height // PATCH[1], width // PATCH[2]


class PatchEmbedding(nn.Conv3d):
    """Latents to tokens: a convolution with kernel = stride, computed as the matmul that it is."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__(channels, dim, kernel_size=PATCH, stride=PATCH)

    def forward(self, latents: Tensor) -> Tensor:
        """``[batch, channels, frames, height, width]`` -> ``[batch, tokens, dim]``."""
        patches = rearrange(
            latents, "b c f (h ph) (w pw) -> b (f h w) (c ph pw)", ph=PATCH[1], pw=PATCH[2]
        )
        return F.linear(patches.to(self.weight.dtype), self.weight.flatten(1), self.bias)


def unpatchify(patches: Tensor, grid: Grid) -> Tensor:
    """``[batch, tokens, 4 * channels]`` -> ``[batch, channels, frames, height, width]``."""
    frames, height, width = grid
    return rearrange(
        patches,
        "b (f h w) (ph pw c) -> b c f (h ph) (w pw)",
        f=frames,
        h=height,
        w=width,
        ph=PATCH[1],
        pw=PATCH[2],
    )


def sinusoid(values: Tensor, width: int) -> Tensor:
    """Sinusoid ``[…, width]`` of ``values`` in float64: all cosines, then all sines.

    The angle of pair k is ``value * 10000 ** (-k / half)``, ``half = width / 2``.
    """
    half = width // 2
    steps = torch.arange(half, dtype=torch.float64, device=values.device)
    angles = values.double().unsqueeze(-1) * 10000.0 ** (-steps / half)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


class ImageEmbedding(nn.Module):
    """Image tokens (CLIP features) to the stream's width; some models add learned positions."""

    def __init__(self, image_dim: int, dim: int, positions: int | None) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(image_dim),
            nn.Linear(image_dim, image_dim),
            nn.GELU(),
            nn.Linear(image_dim, dim),
            nn.LayerNorm(dim),
        )
        self.emb_pos = None
        if positions is not None:
            self.emb_pos = nn.Parameter(torch.zeros(1, positions, image_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """``[batch, tokens, image_dim]`` -> ``[batch, tokens, dim]``."""
        if self.emb_pos is not None:
            tokens = tokens + self.emb_pos
        out: Tensor = self.proj(tokens)
        return out


class Head(nn.Module):
    """Modulated norm and projection, in float32.

    Args:
        outputs: numbers that a token becomes: those of its patch.
    """

    def __init__(self, dim: int, outputs: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.zeros(1, 2, dim))
        self.head = Float32Linear(dim, outputs)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Project.

        Args:
            x: ``[batch, tokens, dim]``.
            time: time embedding ``[batch, groups, dim]`` (groups: see ``modulated_norm``).

        Returns:
            ``[batch, tokens, outputs]`` float32.
        """
        shift, scale = (self.modulation.float().unsqueeze(1) + time.unsqueeze(2)).unbind(2)
        out: Tensor = self.head(modulated_norm(x, shift, scale, self.eps, torch.float32))
        return out
