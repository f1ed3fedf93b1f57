"""The reference cases: the smallest ones here, all of them where they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from wan_plugin_unilumos.golden import HANDLERS

from wan_core.testing.golden import Verdict, find_cases, run_case

HERE = Path(__file__).parent / "golden"
SHARED = [folder / "shared" / "golden" / "unilumos" for folder in Path(__file__).parents]
CASES = find_cases([next(filter(Path.is_dir, SHARED), HERE)])


def test_there_are_cases() -> None:
    assert len(CASES) >= 5
    # one of the kind unilumos.forward is as large as all the others; unilumos.generate goes through the same
    assert {path.stem for path in HERE.glob("*.json")} == {
        "dpmpp_6_steps",
        "e2e_ab",
        "frame_indices",
        "resize_crop",
        "schedule",
    }
    assert sum(path.stat().st_size for path in HERE.iterdir()) <= 500_000


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    outcome = run_case(path, HANDLERS)
    assert outcome.verdict is Verdict.PASSED, outcome.note
