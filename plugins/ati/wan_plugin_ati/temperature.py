"""How narrow the spot around a point is, by the size of the latents. Imports nothing."""

from __future__ import annotations

TEMPERATURE = 220.0
"""ATI's own."""
PUBLISHED_SHORT_SIDE = 60
"""Latent rows of the clips that it was trained with."""


def scaled_temperature(height: int, width: int) -> float:
    """The temperature that reaches as many cells on a latent grid of this size as 220 does on 60 rows.

    Neighbouring cells are 2 / (m - 1) apart, m the short side, so their weight stays the same when the
    temperature grows with (m - 1) squared.
    """
    shortest = min(height, width)
    return TEMPERATURE * ((shortest - 1) / (PUBLISHED_SHORT_SIDE - 1)) ** 2
