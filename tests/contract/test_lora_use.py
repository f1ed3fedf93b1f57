"""How a LoRA file is used: what its options refuse in Python, and the factors of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from wan_core.contract.loras import LoraUse
from wan_core.contract.options import OptionError


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 101},
        {"strength": "1"},
        {"strength": []},
        {"strength": [1] * 1001},
        {"strength": [1, 101]},
        {"strength": [1, True]},
        {"strength": float("nan")},
        {"merge": "yes"},
        {"blocks": 5},
        {"blocks": ""},
        {"blocks": "9-0"},
        {"blocks": "1;2"},
        {"blocks": {"0": "1"}},
        {"blocks": {0: -101}},
        {"blocks": {"0": float("nan")}},
        {"skip": "ffn"},
        {"skip": [""]},
        {"skip": ["x"] * 65},
        {"transformer": "middle"},
        {"unmatched": True},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(wrong))}"):
        LoraUse("x.safetensors", **wrong)


@pytest.mark.parametrize(
    ("blocks", "factors"),
    [
        (None, [1, 1, 1, 1]),
        ("0, 2-9", [1, 0, 1, 1]),
        ({}, [0, 0, 0, 0]),
        ({"0": 2.0, " 1 - 2 ": -0.5, "2-3": 7.0}, [2, -0.5, -0.5, 7]),
    ],
)
def test_blocks_have_factors(
    blocks: str | Mapping[str, float] | None, factors: list[float]
) -> None:
    use = LoraUse("x.safetensors", blocks=blocks)
    assert [use.factor(block) for block in range(4)] == factors


@pytest.mark.parametrize(
    ("strength", "strengths", "told"),
    [
        (0.8, (0.8,), "0.8"),
        ([2], (2.0,), "2"),
        ([1, 0.5], (1.0, 0.5), "[1, 0.5]"),
        ([1] * 7, (1.0,) * 7, "[1, 1, 1, 1, 1, 1, …]"),
    ],
)
def test_strengths_by_step(strength: Any, strengths: tuple[float, ...], told: str) -> None:
    use = LoraUse("x.safetensors", strength)
    assert (use.strengths, use.told) == (strengths, told)
