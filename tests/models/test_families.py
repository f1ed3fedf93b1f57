"""What families of plugins are built from is what the built-in ones are built from."""

from __future__ import annotations

import attrs

from wan_core.contract import PublishedFile
from wan_core.models import families as public


def test_a_wider_model_of_public_parts_differs_from_the_built_in_one_by_its_width() -> None:
    files = (PublishedFile("Org/Wide", "wide.safetensors"),)
    built_in = public.WAN21_T2V_1_3B
    wide = {
        "transformer": public.transformer(public.SMALL, files, in_dim=48, variant="t2v"),
        "text_encoder": public.text_encoder(),
        **public.vaes(),
    }
    assert wide.keys() == built_in.components.keys()
    own = built_in.components["transformer"]
    assert wide["transformer"].config == {**own.config, "in_dim": 48}
    same = attrs.evolve(
        wide["transformer"], config=own.config, published=own.published, outline=own.outline
    )
    assert {**wide, "transformer": same} == built_in.components
    assert built_in.preset.sizes == public.SIZES_1_3B
    assert built_in.preset.negative_prompt == public.WAN_NEGATIVE_PROMPT


def test_the_others_are_the_built_in_ones_too() -> None:
    pictures, large = public.WAN21_I2V_14B_720P, public.WAN22_TI2V_5B
    assert pictures.components["image_encoder"] == public.image_encoder()
    assert pictures.pictures == public.FIRST_FRAME
    assert pictures.preset.sizes == public.SIZES_14B
    assert public.vaes_2_2().items() <= large.components.items()
    assert large.preset.sizes == public.SIZES_5B
    for sizes, family in ((public.WIDE, pictures), (public.MIDDLE, large)):
        assert sizes.items() <= family.components["transformer"].config.items()
