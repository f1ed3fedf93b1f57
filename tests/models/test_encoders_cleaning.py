"""Cleaning of prompts: what upstream's cleaner gives, and what happens without ftfy."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from wan_core.contract.errors import ResourceError
from wan_core.models.encoders import clean

GOLDEN = Path(__file__).parents[1] / "golden" / "encoders" / "text_clean.json"
CASES = json.loads(GOLDEN.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"][:20]))
def test_reference_cases(case: dict[str, str]) -> None:
    assert clean(case["text"]) == case["whitespace"]
    assert clean(case["text"], "lower") == case["lower"]
    assert clean(case["text"], "canonicalize") == case["canonicalize"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("", ""),
        (" \t\n　 ", ""),
        ("“a” ‘b’", "\"a\" 'b'"),
        ("a&#13;&#10;b", "a b"),
        ("&amp;amp;amp;", "&"),
        ("色调艳丽，过曝", "色调艳丽,过曝"),
        ("a\x1cb", "ab"),
    ],
)
def test_whitespace_mode(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_without_ftfy_nothing_is_skipped_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    with pytest.raises(ResourceError, match="pip install ftfy"):
        clean("a cat")
