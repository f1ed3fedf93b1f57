"""The bundled family ``tiny-unilumos``: the core's toy model and a LoRA that relights. Imports no torch.

Its weights are made by the repository's ``zoo`` (``python -m zoo unilumos``).
"""

from __future__ import annotations

import attrs

from wan_core.contract.lazy import resolve
from wan_core.models.families import TINY_T2V, WAN21_T2V_1_3B
from wan_plugin_unilumos.family import NAME, UNILUMOS_1_3B, beside_latents
from wan_plugin_unilumos.words import without_light

NO_ATTRIBUTES = (
    "the bundled toy model was never taught the attributes of light, and makes little of them; say where it "
    'comes from at the end of the prompt: ", lit from the left" (right, top, bottom, top left, top right, '
    f"bottom left, bottom right). For a model that knows them: wan-core models {UNILUMOS_1_3B.name}"
)

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
    warn="wan_plugin_unilumos.tiny:warn",
)


def warn(prompt: str) -> str | None:
    """A note on attributes of light, and on words that were never taught; None where there are none."""
    assert TINY_T2V.warn is not None
    caption = without_light(prompt)
    untaught: str | None = resolve(TINY_T2V.warn)(caption)
    if untaught:
        untaught = untaught.replace(WAN21_T2V_1_3B.name, UNILUMOS_1_3B.name)
    notes = (NO_ATTRIBUTES if caption != prompt else None, untaught)
    return "; ".join(note for note in notes if note) or None
