"""The built-in families. Imports no torch."""

from __future__ import annotations

from wan_core.models.families.tiny import TINY_I2V, TINY_RANDOM, TINY_T2V
from wan_core.models.families.wan import (
    WAN21_FLF2V_14B,
    WAN21_I2V_14B_480P,
    WAN21_I2V_14B_720P,
    WAN21_T2V_1_3B,
    WAN21_T2V_14B,
    WAN21_VACE_1_3B,
    WAN21_VACE_14B,
    WAN22_I2V_A14B,
    WAN22_T2V_A14B,
    WAN22_TI2V_5B,
)

FAMILIES = (
    WAN21_T2V_1_3B,
    WAN21_T2V_14B,
    WAN21_I2V_14B_480P,
    WAN21_I2V_14B_720P,
    WAN21_FLF2V_14B,
    WAN21_VACE_1_3B,
    WAN21_VACE_14B,
    WAN22_T2V_A14B,
    WAN22_I2V_A14B,
    WAN22_TI2V_5B,
    TINY_T2V,
    TINY_I2V,
    TINY_RANDOM,
)

__all__ = [
    "FAMILIES",
    "TINY_I2V",
    "TINY_RANDOM",
    "TINY_T2V",
    "WAN21_FLF2V_14B",
    "WAN21_I2V_14B_480P",
    "WAN21_I2V_14B_720P",
    "WAN21_T2V_1_3B",
    "WAN21_T2V_14B",
    "WAN21_VACE_1_3B",
    "WAN21_VACE_14B",
    "WAN22_I2V_A14B",
    "WAN22_T2V_A14B",
    "WAN22_TI2V_5B",
]
