"""The reference cases of the topic samplers, through the product's loop."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_core.testing.golden.case import Case
from wan_core.testing.golden.kinds.samplers import HANDLERS

CASES = sorted((Path(__file__).parent.parent / "golden" / "samplers").glob("*.json"))


def test_there_are_cases() -> None:
    assert len(CASES) > 30


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = Case(path)
    HANDLERS[case.kind](case)
    assert case.checks
    assert [check for check in case.checks if not check.ok] == []
    assert case.uncompared() == []
