"""A clip whose last frame is given: it is coded on its own, as if it began a clip.

kijai/ComfyUI-WanVideoWrapper, ``encode_2`` and ``decode_2`` (credit raindrop313). Equal to two
independent encodes or decodes glued in time. The natural length is 4n + 2 frames.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from wan_core.models.vae.model import WanVAE


def encode_with_end_frame(vae: WanVAE, video: Tensor) -> Tensor:
    """Latents of a clip and, behind them, one latent of its last frame alone.

    Args:
        video: ``[batch, 3, frames, height, width]`` in [-1, 1], at least 2 frames. Frames between
            the last full group of four and the last frame are dropped.

    Returns:
        ``[batch, channels, 2 + (frames - 2) // 4, …]``.
    """
    if video.shape[2] < 2:
        raise ValueError("a clip with an end frame has at least 2 frames")
    parts = (video[:, :, :-1], video[:, :, -1:])
    return torch.cat([mean for part in parts for mean, _ in vae.encode_stream(part)], dim=2)


def decode_with_end_frame(vae: WanVAE, latents: Tensor) -> Iterator[Tensor]:
    """Decode such latents, frames as they come: 1, 4, 4, … and the end frame alone as the last.

    Users of this trick leave the end frame out of the result; that is the caller's choice.
    """
    yield from vae.decode_stream(latents[:, :, :-1])
    yield from vae.decode_stream(latents[:, :, -1:])
