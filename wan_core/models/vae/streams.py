"""Cutting a clip that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
