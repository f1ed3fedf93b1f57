"""Tables of name templates, translated both ways."""

from __future__ import annotations

import pytest

from wan_core.weights import renaming

TABLE = [
    ("embed.weight", "shared.weight"),
    ("embed.weight", "tokens.weight"),
    ("blocks.{i}.norm1.{*}", "layers.{i}.ln.0.{*}"),
    ("blocks.{i}.{*}", "layers.{i}.{*}"),
    ("pairs.{a}.{b}.x", "pairs.{b}-{a}.x"),
]


@pytest.mark.parametrize(
    ("official", "other"),
    [
        ("embed.weight", "shared.weight"),
        ("blocks.12.norm1.weight", "layers.12.ln.0.weight"),
        ("blocks.3.attn.q.weight", "layers.3.attn.q.weight"),
        ("pairs.1.22.x", "pairs.22-1.x"),
    ],
)
def test_both_ways(official: str, other: str) -> None:
    to_official, from_official = renaming(TABLE)
    assert to_official(other) == official
    assert from_official(official) == other


def test_a_second_name_is_understood_but_not_given() -> None:
    to_official, from_official = renaming(TABLE)
    assert to_official("tokens.weight") == "embed.weight"
    assert from_official("embed.weight") == "shared.weight"


@pytest.mark.parametrize(
    "name", ["layers.x.a", "my.layers.1.a", "sharedxweight", "shared.weight.more", "layers.1."]
)
def test_names_match_as_a_whole(name: str) -> None:
    assert renaming(TABLE)[0](name) is None
