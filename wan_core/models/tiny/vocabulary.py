"""Which words the bundled tiny model was taught, so that a prompt beyond them gets a warning."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

WORDS_FILE = Path(__file__).with_name("words.txt")
SHOWN = 4


@cache
def known_words() -> frozenset[str]:
    """The words of all captions of the training, in lower case."""
    return frozenset(WORDS_FILE.read_text(encoding="utf-8").split())


def warn(prompt: str) -> str | None:
    """A note naming the words of a prompt that the tiny model was never taught; None when there are none."""
    words = dict.fromkeys(re.findall(r"[^\W_]+", prompt.lower()))
    unknown = [word for word in words if word not in known_words()]
    if not unknown:
        return None
    named = ", ".join(f'"{word}"' for word in unknown[:SHOWN])
    more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
    return (
        f"the bundled tiny model was never taught {named}{more}; it only draws one coloured shape "
        f"that moves. For a model that knows the world: wan-core models wan2.1-t2v-1.3b"
    )
