"""What every sentence that refuses something has to be."""

from __future__ import annotations

import re

from wan_core.contract.options import unprintable

LONGEST = 1250


def check_sentence(text: str) -> None:
    """One line, one sentence, nothing that a terminal acts upon."""
    assert text.endswith(".\n") and not text.endswith("..\n"), text
    sentence = text.removesuffix("\n")
    assert "\n" not in sentence, text
    assert not unprintable(sentence), repr(text)
    assert len(sentence) <= LONGEST, len(sentence)
    assert not re.search(r"Traceback|internal error", sentence), text
