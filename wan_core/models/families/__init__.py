"""The built-in families, and what families of plugins are built from. Imports no torch.

A plugin's family is one of these with changes, ``attrs.evolve(TINY_T2V, name="…", …)``, or made of their
components: ``{"transformer": transformer(SMALL, files, in_dim=48), "text_encoder": text_encoder(), **vaes()}``.
"""

from __future__ import annotations

from wan_core.models.families.parts import (
    MIDDLE,
    SMALL,
    WIDE,
    image_encoder,
    text_encoder,
    transformer,
    vaes,
    vaes_2_2,
)
from wan_core.models.families.tiny import TINY_I2V, TINY_RANDOM, TINY_T2V
from wan_core.models.families.wan import (
    FIRST_FRAME,
    SIZES_1_3B,
    SIZES_5B,
    SIZES_14B,
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
    WAN_NEGATIVE_PROMPT,
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
    "FIRST_FRAME",
    "MIDDLE",
    "SIZES_1_3B",
    "SIZES_5B",
    "SIZES_14B",
    "SMALL",
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
    "WAN_NEGATIVE_PROMPT",
    "WIDE",
    "image_encoder",
    "text_encoder",
    "transformer",
    "vaes",
    "vaes_2_2",
]
