"""How far a spot reaches in a stage: its temperature, and a note where it reaches nothing. Imports no torch."""

from __future__ import annotations

import math

from wan_core.contract import VideoSize
from wan_plugin_ati.families import TEMPERATURES
from wan_plugin_ati.options import SCALED, AtiOptions
from wan_plugin_ati.temperature import TEMPERATURE, scaled_temperature

STRIDE = 8
"""Pixels of a latent's cell, of the VAE that all fitting families have."""
LEAST_BESIDE = 0.02
"""Weight one cell beside a point, below which nearly nothing is told."""


def temperature_of(options: AtiOptions, family: str, height: int, width: int) -> float:
    """The temperature on a latent grid of that size."""
    asked = options.temperature
    if asked is None:
        asked = TEMPERATURES.get(family, TEMPERATURE)
    return scaled_temperature(height, width) if asked == SCALED else float(asked)


def note_on_reach(options: AtiOptions, family: str, size: VideoSize) -> list[str]:
    """A note where a spot is so narrow that it falls between the cells."""
    height, width = size.height // STRIDE, size.width // STRIDE
    shortest = min(height, width)
    temperature = temperature_of(options, family, height, width)
    if shortest < 2 or math.exp(-temperature * (2 / (shortest - 1)) ** 2) >= LEAST_BESIDE:
        return []
    return [
        f"at {width}x{height} latents a temperature of {temperature:.4g} reaches no cell beside a point; "
        f'temperature = "{SCALED}" ({scaled_temperature(height, width):.3g} here) reaches as far as ATI does '
        "at its own size"
    ]
