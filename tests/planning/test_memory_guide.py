"""The tables in the guide to memory are what the command prints."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from published_files import plan_with

from wan_core.cli.budgets import budget_lines
from wan_core.models.families import FAMILIES
from wan_core.planning.vram_table import table_of_budgets
from wan_core.workflow import MemorySpec

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "memory.md"
SIZE = "width = 832\nheight = 480\nframes = 81"


@pytest.mark.parametrize(
    ("model", "sizes"), [("", (8, 12, 16, 24, 48)), ("quantization = {}", (8, 12, 16, 24))]
)
def test_the_tables_of_the_guide(tmp_path: Path, model: str, sizes: tuple[int, ...]) -> None:
    family = next(one for one in FAMILIES if one.name == "wan2.1-t2v-14b")
    made = plan_with(family, tmp_path, stage=SIZE, model=model)
    # what this machine has is no matter
    made = attrs.evolve(made, machine=attrs.evolve(made.machine, ram=2**32, whole_ram=2**33))
    rows = table_of_budgets(made, MemorySpec(), [size * 2**30 for size in sizes])
    table = "\n".join(line.rstrip() for line in budget_lines(rows))
    assert f"```\n{table}\n```" in GUIDE.read_text(encoding="utf-8"), f"put there:\n{table}"
