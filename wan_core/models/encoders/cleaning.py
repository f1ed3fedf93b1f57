"""Cleaning of prompts before they are tokenized.

The tokens depend on it: among other things ftfy turns full-width punctuation into ASCII, so that
the default Chinese negative prompt tokenizes differently without it. Source: Wan-Video/Wan2.1,
``wan/modules/tokenizers.py``; every Wan pipeline uses ``"whitespace"``.
"""

from __future__ import annotations

import html
import re
import string
from typing import Literal

from wan_core.contract.errors import ResourceError

__all__ = ["Cleaning", "clean"]

Cleaning = Literal["whitespace", "lower", "canonicalize"]


def clean(text: str, mode: Cleaning = "whitespace") -> str:
    """Repair and normalise a prompt.

    Args:
        mode: ``"whitespace"`` repairs mojibake, undoes HTML entities and makes every run of
            whitespace one space; ``"lower"`` also lowers the case; ``"canonicalize"`` also makes
            underscores spaces and deletes ASCII punctuation.

    Raises:
        ResourceError: ftfy is not installed.
    """
    try:
        import ftfy
    except ImportError as error:
        raise ResourceError(
            "prompts are cleaned with ftfy, which is not installed",
            remedy='run "pip install ftfy" (without it the tokens would differ)',
        ) from error
    # twice, because scraped captions are often escaped twice
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    if mode == "canonicalize":
        text = text.replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    if mode in ("lower", "canonicalize"):
        text = text.lower()
    return re.sub(r"\s+", " ", text).strip()
