"""The documentation says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *ROOT.glob("docs/**/*.md"),
]


@pytest.mark.parametrize("maker", ["make_reference.py", "make_troubles.py", "make_outlines.py"])
def test_what_is_made_from_the_code_is_up_to_date(maker: str) -> None:
    check = [sys.executable, str(ROOT / "docs" / maker), "--check"]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_workflow_is_one() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (workflow,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    parsed = tomllib.loads(workflow)
    assert parsed["format"] == 1
    assert len(workflow.strip().splitlines()) <= 5
