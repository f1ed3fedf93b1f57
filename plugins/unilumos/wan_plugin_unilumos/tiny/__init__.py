"""The bundled family ``tiny-unilumos``: the core's toy model and a LoRA that relights. Imports no torch.

Its weights are made by the repository's ``zoo`` (``python -m zoo unilumos``).
"""

from __future__ import annotations

import attrs

from wan_core.models.families import TINY_T2V
from wan_plugin_unilumos.family import NAME, beside_latents

TINY_UNILUMOS = attrs.evolve(
    TINY_T2V,
    name="tiny-unilumos",
    title="bundled toy model: one coloured shape that is lit anew, for demos and tests",
    task="video-to-video",
    components={
        **TINY_T2V.components,
        "transformer": beside_latents(TINY_T2V.components["transformer"]),
    },
    preset=attrs.evolve(TINY_T2V.preset, steps=20, shift=3.0, guidance=2.0, solver="unipc"),
    stages=(NAME,),
    loras=("wan_plugin_unilumos:tiny/unilumos.safetensors",),
)
