"""Clips that come in pieces: cut, and encoded as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


def regroup(pieces: Iterable[Tensor], first: int, then: int) -> Iterator[Tensor]:
    """Cut frames that come in pieces of any length: ``first``, ``then`` each, and what is left."""
    held: Tensor | None = None
    want = first
    for piece in pieces:
        held = piece if held is None else torch.cat((held, piece), dim=2)
        while held is not None and held.shape[2] >= want:
            ready, rest = held[:, :, :want], held[:, :, want:]
            held = rest if rest.shape[2] else None
            yield ready
            want = then
    if held is not None:
        yield held


def encode_pieces(
    vae: Any, pieces: Iterable[Tensor], on_frames: Callable[[int], None] | None = None
) -> Tensor:
    """All latents of a clip that comes in pieces ``[batch, 3, frames, height, width]``, as the mean says them.

    Args:
        vae: with the ``encode_stream`` and the ``config`` of a :class:`~wan_core.models.vae.WanVAE`.
        on_frames: told how many frames are encoded, as they are.

    Returns:
        ``[batch, channels, latent frames, height, width]`` float32.
    """
    parts = []
    for mean, _ in vae.encode_stream(pieces):
        parts.append(mean.float())
        if on_frames:
            on_frames(1 + vae.config.stride[0] * (len(parts) - 1))
    return torch.cat(parts, dim=2)
