"""How light is described: six attributes in a fixed form behind the caption. Imports no torch.

Source of the form and of the values: alibaba-damo-academy/Lumos-Custom, ``UniLumos/LumosBench``. The model was
trained with all six, so where some are given the others are said, too, with the plainest value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from wan_core.contract import nearest
from wan_core.contract.options import OptionError, checked_field, show


@attrs.frozen
class Attribute:
    """One of the six.

    Attributes:
        option: what a workflow calls it.
        title: what the prompt calls it.
        values: as the makers spell them.
        plain: the value that stands for nothing special.
        spellings: others -> value; compared as :func:`_folded` leaves them.
    """

    option: str
    title: str
    values: tuple[str, ...]
    plain: str
    spellings: Mapping[str, str] = attrs.field(factory=dict)

    def value(self, said: str) -> str | None:
        """The value that is meant, whatever its case and spaces; None = none is."""
        folded = _folded(said)
        known = {_folded(value): value for value in self.values}
        short = {re.sub(r" (light|tone)$", "", key): value for key, value in known.items()}
        return {**short, **self.spellings, **known}.get(folded)


INTENSITY_CHANGES = "Dynamic Light(Intensity Changing Light)"
SOURCE_MOVES = "Dynamic Light(Moving Light Source)"
GLASS = "Transmission (Glass)"
WATER = "Refraction/Reflection (Water Surface, Mirror)"
FOG = "Scattering (Fog Effect)"

ATTRIBUTES = (
    Attribute(
        "direction",
        "Direction of Light",
        (
            "Front Light",
            "Side Light",
            "Back Light",
            "Top Light",
            "Bottom Light",
            "Split Light",
            "Ambient Light Without Clear Direction",
        ),
        "Ambient Light Without Clear Direction",
        {
            "ambient": "Ambient Light Without Clear Direction",
            "ambient light": "Ambient Light Without Clear Direction",
        },
    ),
    Attribute(
        "light_source",
        "Light Source Type",
        ("Natural Light", "Artificial Light", "Rendering Light"),
        "Natural Light",
    ),
    Attribute("intensity", "Light Intensity", ("Glare", "Moderate", "Dim"), "Moderate"),
    Attribute(
        "color_temperature",
        "Color Temperature",
        ("Cool Tone", "Neutral", "Warm Tone"),
        "Neutral",
        {"neutral tone": "Neutral"},
    ),
    Attribute(
        "changes",
        "Light Changes in Time",
        ("Static Light", INTENSITY_CHANGES, SOURCE_MOVES),
        "Static Light",
        {
            "intensity changing light": INTENSITY_CHANGES,
            "changing intensity": INTENSITY_CHANGES,
            "moving light source": SOURCE_MOVES,
            "moving": SOURCE_MOVES,
        },
    ),
    Attribute(
        "phenomena",
        "Optical Phenomena",
        (GLASS, WATER, FOG, "None"),
        "None",
        {
            "transmission": GLASS,
            "glass": GLASS,
            # as the makers' table of examples has it
            "refraction/reflection(water surface)": WATER,
            "refraction/reflection": WATER,
            "refraction": WATER,
            "reflection": WATER,
            "water": WATER,
            "mirror": WATER,
            "scattering": FOG,
            "fog": FOG,
        },
    ),
)


def light(option: str) -> Any:
    """The field of an attribute; other spellings become the makers' own."""
    attribute = next(one for one in ATTRIBUTES if one.option == option)
    *first, last = attribute.values
    allowed = f"{', '.join(map(show, first))} or {show(last)}"

    def check(value: Any, name: str) -> str:
        found = attribute.value(value) if isinstance(value, str) else None
        if found is None:
            close = nearest(value, attribute.values) if isinstance(value, str) else ""
            hint = close if close.startswith("did you mean") else ""
            raise OptionError(name, f"must be {allowed}, not {show(value)}", remedy=hint)
        return found

    return checked_field(
        check,
        default=None,
        allowed=f"{allowed}, in any case",
        help=f"{attribute.title.lower()}, behind the prompt",
        unset=f"not said; where another attribute is: {attribute.plain}",
        sweep=True,
    )


def composed(caption: str, said: Mapping[str, str | None]) -> str:
    """The prompt: the caption, and behind it the attributes if any of them is said.

    Args:
        said: option -> value in the makers' spelling; None = not said.
    """
    if not any(said.values()):
        return caption
    parts = [f"{one.title}: {said.get(one.option) or one.plain}" for one in ATTRIBUTES]
    return f"{caption} {', '.join(parts)}.".lstrip()


def without_light(prompt: str) -> str:
    """The caption of a prompt that :func:`composed` made."""
    return prompt.partition(f"{ATTRIBUTES[0].title}: ")[0].rstrip()


def _folded(text: str) -> str:
    """Lower case, single spaces, none before a bracket."""
    return re.sub(r"\s*\(\s*", "(", " ".join(text.lower().split()))
