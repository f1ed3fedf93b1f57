"""Reference cases: those that the package holds, and all others where they are.

The cases of a whole forward pass and of a whole run are too large for a checkout. A folder that has them is
named by ``ATI_GOLDEN``, or lies beside the checkout.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from wan_plugin_ati.golden import HANDLERS

from wan_core.testing.golden import Verdict, find_cases, run_case

OWN = Path(__file__).parent / "golden"
ABOVE = Path(__file__).resolve().parents
BESIDE = ABOVE[min(4, len(ABOVE) - 1)] / "shared" / "golden" / "ati"
MORE = Path(os.environ.get("ATI_GOLDEN", BESIDE))
CASES = find_cases(folder for folder in (OWN, MORE) if folder.is_dir())


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_reference_cases_pass(path: Path) -> None:
    outcome = run_case(path, HANDLERS)
    assert outcome.verdict is Verdict.PASSED, outcome


def test_the_package_holds_cases_of_tracks_and_of_the_edit() -> None:
    kinds = {run_case(path, HANDLERS).kind for path in CASES if path.parent == OWN}
    assert kinds == {"ati.tracks.pth", "ati.tracks.json", "ati.patch_motion"}
