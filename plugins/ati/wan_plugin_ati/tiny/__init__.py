"""The family ``tiny-ati``: the core's toy model of pictures that begin to move, led by tracks. No torch.

Its weights are the core's own and a LoRA that comes with this package.
"""

from __future__ import annotations

import re

import attrs

from wan_core.contract.lazy import resolve
from wan_core.contract.options import show
from wan_core.models.families import TINY_I2V

TAUGHT = frozenset({"and", "curved", "drawn", "follow", "follows", "path", "paths", "track"})
"""Words that the LoRA was trained with, beside those of the core's model."""

WAYS = frozenset({"right", "left", "up", "down", "still"})
"""Words that lead the core's model more than the tracks do."""

assert TINY_I2V.pictures is not None
# it was trained from first pictures alone: tracks have the channels that would tell of other given frames
_PICTURES = attrs.evolve(TINY_I2V.pictures, takes=("image",))

TINY_ATI = attrs.evolve(
    TINY_I2V,
    name="tiny-ati",
    title="bundled toy model: shapes of a picture follow the tracks that you draw, for demos and tests",
    pictures=_PICTURES,
    features=("ati",),
    loras=("wan_plugin_ati:tiny/ati.safetensors",),
    warn="wan_plugin_ati.tiny:warn",
)


def warn(prompt: str) -> str | None:
    """A note on words that were never taught, and on those that lead against tracks; None without any."""
    assert TINY_I2V.warn is not None
    words = re.findall(r"[^\W_]+", prompt.lower())
    unknown: str | None = resolve(TINY_I2V.warn)(" ".join(w for w in words if w not in TAUGHT))
    against = None
    if ways := [show(word) for word in dict.fromkeys(words) if word in WAYS]:
        against = (
            f"the prompt says how things move ({', '.join(ways)}), which can lead more than tracks do; "
            'say "follows the drawn path"'
        )
    return "; ".join(note for note in (unknown, against) if note) or None
