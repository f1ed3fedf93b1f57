"""Brightness, chromaticity and colour temperature of a mean colour. Imports no torch.

Source of what LumosBench computes: alibaba-damo-academy/Lumos-Custom, ``UniLumos/LumosBench``: mean sRGB
values, taken as they are (no gamma is undone), times the matrix of sRGB; Y of them is called illuminance there.
Source of the colour temperature: Kang et al. 2002, "Design of advanced color temperature control system for
HDTV applications", whose polynomials give the chromaticity of a temperature from 1667 to 25000 K. Here the
temperature is the one whose chromaticity lies nearest, in the plane of CIE 1960 (u, v), in which that distance
is defined.
"""

from __future__ import annotations

import math

import attrs
import numpy as np
from numpy.typing import NDArray

SRGB = np.array(
    [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
)
"""To XYZ, as IEC 61966-2-1 has it."""

COLDEST, HOTTEST = 1667.0, 25000.0
FARTHEST = 0.05
"""Distance from Planck's locus in (u, v) beyond which a colour has no correlated temperature (CIE 15)."""

_COARSE = 400
_NARROWING = 40


@attrs.frozen
class Temperature:
    """A correlated colour temperature.

    Attributes:
        kelvin: None = the colour has none.
        note: why it has none, or why it is not Kang's; ``""`` where it is.
    """

    kelvin: float | None
    note: str = ""


def xyz_of(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """``[…, 3]`` in 0…1 as X, Y, Z."""
    xyz: NDArray[np.float64] = rgb @ SRGB.T
    return xyz


def xy_of(xyz: NDArray[np.float64]) -> tuple[float, float] | None:
    """Chromaticity; None for black, which has none."""
    total = float(xyz.sum())
    return (float(xyz[0]) / total, float(xyz[1]) / total) if total > 0 else None


def kang_xy(kelvin: float) -> tuple[float, float]:
    """Chromaticity of a temperature from 1667 to 25000 K, by Kang's polynomials."""
    t = 1e3 / kelvin
    if kelvin <= 4000:
        x = ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
    else:
        x = ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.24039
    if kelvin <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return x, y


def temperature(x: float, y: float) -> Temperature:
    """The correlated colour temperature of a chromaticity.

    Beyond the ends of Kang's range it is McCamy's, where the colour is near enough to white for that to mean
    anything.
    """

    def distance(mired: float) -> float:
        return math.dist(uv_of(x, y), uv_of(*kang_xy(1e6 / mired)))

    low, high = 1e6 / HOTTEST, 1e6 / COLDEST
    places = np.linspace(low, high, _COARSE).tolist()
    best = min(range(_COARSE), key=lambda index: distance(places[index]))
    left, right = (places[max(0, min(_COARSE - 1, best + step))] for step in (-1, 1))
    for _ in range(_NARROWING):
        third = (right - left) / 3
        if distance(left + third) <= distance(right - third):
            right -= third
        else:
            left += third
    found = (left + right) / 2
    if distance(found) > FARTHEST:
        return Temperature(None, "the colour is too far from white to have a temperature")
    if found - low < 1e-3 or high - found < 1e-3:
        return _by_mccamy(x, y)
    return Temperature(1e6 / found)


def mccamy(x: float, y: float) -> float:
    """McCamy's formula of 1992: good near daylight."""
    n = (x - 0.3320) / (0.1858 - y)
    return ((449 * n + 3525) * n + 6823.3) * n + 5520.33


def uv_of(x: float, y: float) -> tuple[float, float]:
    """CIE 1960."""
    below = -2 * x + 12 * y + 3
    return 4 * x / below, 6 * y / below


def _by_mccamy(x: float, y: float) -> Temperature:
    outside = f"outside of {COLDEST:g} to {HOTTEST:g} K"
    kelvin = mccamy(x, y) if y != 0.1858 else -1.0
    if not 0 < kelvin < 1e6:
        return Temperature(None, outside)
    return Temperature(kelvin, f"by McCamy's formula, {outside}")
