"""``wan-core plan --vram`` on a machine without a GPU, and what it says of what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wan_core.cli import main
from wan_core.cli.budgets import budget_lines
from wan_core.planning import BudgetRow

TEXT = """\
format = 1
[model]
family = "tiny-t2v"
device = "{device}"
[[stages]]
use = "generate"
prompt = "a circle"
"""


@pytest.mark.parametrize(
    ("device", "options"),
    [("auto", ()), ("cuda", ()), ("cuda:3", ()), ("cpu", ()), ("cpu", ("--device", "cuda"))],
)
def test_the_table_needs_no_gpu_also_where_one_is_named(
    device: str,
    options: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = tmp_path / "w.toml"
    path.write_text(TEXT.format(device=device))
    assert main(["plan", str(path), "--vram", "8GiB", "--json", *options]) == 0
    (row,) = json.loads(capsys.readouterr().out)["budgets"]
    assert (row["fits"], row["blocks"], row["text_encoder"]) == (True, 7, "GPU")


def test_the_table_needs_no_file_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WAN_CORE_MODELS", str(tmp_path))
    path = tmp_path / "w.toml"
    path.write_text(TEXT.format(device="auto").replace("tiny-t2v", "wan2.1-t2v-14b"))
    size = [part for one in ("width=832", "height=480") for part in ("-s", f"stages.0.{one}")]
    command = ["plan", str(path), "--assume-files", *size]
    assert main([*command, "--vram", "12GiB,48GiB", "--json"]) == 0
    small, large = json.loads(capsys.readouterr().out)["budgets"]
    assert (small["fits"], small["blocks"], large["fits"]) == (True, 40, True)
    assert 0 == large["swapped"] < small["swapped"] < 40
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "main.text_encoder: not here, assumed to be a UMT5 text encoder" in said
    assert "this plan can't be run" in said


def test_a_knob_that_is_stated_is_what_may_be_left_out() -> None:
    row = BudgetRow(800_000_001, False, 2**30, "a / sampling", 0, "", 0, 2, 7, 0, None, "GPU", None)
    *_, table, plain = budget_lines([row])
    assert table.startswith("0.75 GiB  no")  # a number of bytes tells nobody anything
    assert plain.startswith(
        "0.75 GiB is too little: a / sampling is predicted to need at least 1.0"
    )
    assert "as it is; a smaller size" in plain
    *_, said = budget_lines([row], ["blocks_to_swap"])
    assert "as it is; leaving out blocks_to_swap, a smaller size" in said


def test_what_ram_has_no_room_for_is_said_of_each_budget() -> None:
    def row(fits: bool, ram: int, files: int) -> BudgetRow:
        part = "a / sampling"
        return BudgetRow(2**33, fits, 2**32, part, ram, part, files, 2, 7, 1, None, "GPU", None)

    _, table, slow = budget_lines([row(True, 2**31, 3 * 2**30)])
    assert table.split()[:6] == ["8GiB", "yes", "4.0", "GiB", "2.0", "GiB"]
    assert slow == (
        "8GiB: RAM has no room for 3.0 GiB of weights, which are read from files in every pass"
    )
    *_, said = budget_lines([row(False, 2**31, 3 * 2**30)])
    assert said == (
        "8GiB would do, but a / sampling is predicted to need at least 2.0 GiB of RAM, which is more than "
        "[memory] ram"
    )
