"""The family ``unilumos-1.3b``: Wan 2.1 text to video 1.3B with a wider patch embedding. Imports no torch.

Source: alibaba-damo-academy/Lumos-Custom, ``UniLumos/UniLumos``; files of
Alibaba-DAMO-Academy/UniLumos and, repackaged, of Kijai/WanVideo_comfy.
"""

from __future__ import annotations

from typing import Any

import attrs

from wan_core.contract import Component, Family, Preset, PublishedFile
from wan_core.models.families import WAN21_T2V_1_3B

NAME = "unilumos"
"""Of the stage, and of the post-process that becomes it."""

VARIANT = "relight"
"""What the core calls such a file."""

CHANNELS = 3
"""Latents side by side in the transformer's input: noise, foreground, background."""

MAKERS = "Alibaba-DAMO-Academy/UniLumos"
"""Whose files are pickled; the VAE is that of Wan 2.1 under the key ``model_state``."""

_BASE = WAN21_T2V_1_3B


def beside_latents(transformer: Component, **changes: Any) -> Component:
    """A text-to-video transformer that is given a foreground and a background beside its latents.

    Args:
        changes: other fields of the component.
    """
    # the variant that its file is told by, where the family says one
    variant = {"variant": VARIANT} if "variant" in transformer.config else {}
    config = {
        **transformer.config,
        **variant,
        "in_dim": CHANNELS * transformer.config.get("in_dim", 16),
        "border": "zero",
    }
    return attrs.evolve(transformer, config=config, **changes)


UNILUMOS_1_3B = Family(
    name="unilumos-1.3b",
    title="UniLumos: a video lit anew by words or a background, 1.3 B parameters",
    task="video-to-video",
    components={
        **_BASE.components,
        "transformer": beside_latents(
            _BASE.components["transformer"],
            published=(
                PublishedFile(
                    "Kijai/WanVideo_comfy", "UniLumos/Wan2_1_UniLumos_1_3B_bf16.safetensors"
                ),
            ),
            alternatives=(PublishedFile(MAKERS, "unilumos.pt"),),
            outline="wan_plugin_unilumos:unilumos-1.3b.outline.json",
        ),
        "vae": attrs.evolve(
            _BASE.components["vae"], alternatives=(PublishedFile(MAKERS, "vae.pth"),)
        ),
    },
    preset=Preset(
        width=832,
        height=480,
        frames=49,
        fps=12,
        steps=25,
        shift=8.0,
        guidance=6.0,
        solver="dpm++",
        negative_prompt=_BASE.preset.negative_prompt,
        size_multiple=8,
        sizes=((832, 480),),
    ),
    stages=(NAME,),
)
