"""The family ``ati-14b``: Wan 2.1 image to video under other weights, and what fits the feature. No torch."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wan_core.contract import Family, PublishedFile
from wan_core.models.families import TINY_I2V, WAN21_I2V_14B_480P, WAN21_I2V_14B_720P
from wan_plugin_ati.tiny import TINY_ATI

FEATURE = "ati"
TRANSFORMER = "transformer"
SIZES = ((832, 480), (480, 832))

_TRANSFORMER_FILES = (PublishedFile("bytedance-research/ATI", "diffusion_pytorch_model*"),)
"""The shards and their index, whose number nobody has written down. All other parts are Wan's own."""


def _ati(base: Family) -> Family:
    """The same parts with ATI's transformer, and the preset of its makers."""
    transformer = attrs.evolve(base.components[TRANSFORMER], published=_TRANSFORMER_FILES)
    preset = attrs.evolve(
        base.preset, steps=40, shift=5.0, guidance=5.0, frames=81, fps=16, sizes=SIZES
    )
    assert base.pictures is not None
    # a last picture would need the channels that say which frames are given, and tracks have them
    pictures = attrs.evolve(base.pictures, takes=("image", "continues"), untrained=())
    return attrs.evolve(
        base,
        name="ati-14b",
        title="ATI: image to video along trajectories, 14 B parameters (Wan 2.1)",
        components={**base.components, TRANSFORMER: transformer},
        preset=preset,
        pictures=pictures,
        features=(FEATURE,),
    )


ATI_14B = _ati(WAN21_I2V_14B_480P)
FAMILIES = (ATI_14B, TINY_ATI)

FITTING = (WAN21_I2V_14B_480P, WAN21_I2V_14B_720P, TINY_I2V)
"""Families that are told of a picture in the way that the feature edits; their weights never saw tracks."""

TEMPERATURES: Mapping[str, float | str] = {"tiny-ati": "scaled"}
"""Family -> temperature that its weights were trained with, where that is not ATI's own."""
