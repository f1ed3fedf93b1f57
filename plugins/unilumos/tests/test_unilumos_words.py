"""Six attributes of light, however they are spelled, become the form that the model was trained with."""

from __future__ import annotations

import pytest
from wan_plugin_unilumos.options import RelightOptions
from wan_plugin_unilumos.tiny import NO_ATTRIBUTES, warn
from wan_plugin_unilumos.words import ATTRIBUTES, composed, without_light

from wan_core.contract.options import OptionError

# as the makers' scripts and tables have it, put together by hand
FULL = (
    "A woman by a window. Direction of Light: Side Light, Light Source Type: Natural Light, Light Intensity: "
    "Dim, Color Temperature: Warm Tone, Light Changes in Time: Dynamic Light(Moving Light Source), "
    "Optical Phenomena: Scattering (Fog Effect)."
)


def test_the_form_is_the_makers() -> None:
    said = {
        "direction": "Side Light",
        "light_source": "Natural Light",
        "intensity": "Dim",
        "color_temperature": "Warm Tone",
        "changes": "Dynamic Light(Moving Light Source)",
        "phenomena": "Scattering (Fog Effect)",
    }
    assert composed("A woman by a window.", said) == FULL


def test_nothing_said_is_the_caption_alone() -> None:
    assert composed("A woman by a window.", dict.fromkeys(("direction", "phenomena"))) == (
        "A woman by a window."
    )


def test_one_said_brings_the_others_along() -> None:
    assert composed("", {"direction": "Top Light"}) == (
        "Direction of Light: Top Light, Light Source Type: Natural Light, Light Intensity: Moderate, "
        "Color Temperature: Neutral, Light Changes in Time: Static Light, Optical Phenomena: None."
    )


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=lambda one: one.option)
def test_every_value_in_any_case(attribute: object) -> None:
    for value in attribute.values:  # type: ignore[attr-defined]
        for spelled in (value, value.upper(), f"  {value.lower().replace(' ', '   ')}"):
            options = RelightOptions(**{attribute.option: spelled})  # type: ignore[attr-defined]
            assert getattr(options, attribute.option) == value  # type: ignore[attr-defined]
    assert attribute.plain in attribute.values  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("option", "spelled", "value"),
    [
        ("direction", "side", "Side Light"),
        ("direction", "ambient", "Ambient Light Without Clear Direction"),
        ("light_source", "rendering", "Rendering Light"),
        ("color_temperature", "warm", "Warm Tone"),
        ("changes", "static", "Static Light"),
        # the spellings of the makers' table of examples
        (
            "changes",
            "Dynamic Light (Intensity Changing Light)",
            "Dynamic Light(Intensity Changing Light)",
        ),
        (
            "phenomena",
            "Refraction/Reflection (Water Surface)",
            "Refraction/Reflection (Water Surface, Mirror)",
        ),
        ("phenomena", "fog", "Scattering (Fog Effect)"),
        ("phenomena", "none", "None"),
    ],
)
def test_other_spellings(option: str, spelled: str, value: str) -> None:
    assert getattr(RelightOptions(**{option: spelled}), option) == value


@pytest.mark.parametrize("value", ["", "Light", "side back", 3, "dynamic", "\x1b[31m"])
def test_what_is_no_value_is_refused(value: object) -> None:
    for attribute in ATTRIBUTES:
        with pytest.raises(OptionError, match="must be") as caught:
            RelightOptions(**{attribute.option: value})
        assert "\x1b" not in str(caught.value)


def test_the_nearest_value_is_named() -> None:
    with pytest.raises(OptionError, match='did you mean "Side Light"'):
        RelightOptions(direction="Slide Light")


def test_the_caption_is_found_again() -> None:
    caption = "A woman by a window."
    assert without_light(composed(caption, {"direction": "Top Light"})) == caption
    assert without_light(composed("", {"intensity": "Dim"})) == ""
    assert without_light(caption) == caption


def test_the_toy_model_names_the_words_that_it_knows() -> None:
    taught = "a large red circle moves right on a gray background"
    for where in ("left", "right", "top", "bottom", "top left", "bottom right"):
        assert warn(f"{taught}, lit from the {where}") is None
    lit = {"direction": "Top Light"}
    assert warn(composed(taught, lit)) == warn(composed("", lit)) == NO_ATTRIBUTES
    both = warn(composed("a dancer", lit))
    assert both is not None and both.startswith(
        f'{NO_ATTRIBUTES}; the bundled tiny model was never taught "dancer"'
    )
    assert both.count("wan-core models unilumos-1.3b") == 2 and "t2v" not in both
