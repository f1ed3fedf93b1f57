"""The page of results says what the files say."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "results", raising=False)
    return importlib.import_module("results")


def test_the_page_is_up_to_date() -> None:
    check = [sys.executable, str(FOLDER / "results.py"), "--check"]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_files_and_commands_exist(results: ModuleType) -> None:
    files = results.files_in(FOLDER / "results")
    names = {row.name for row in results.ROWS}
    assert {file.partition(".")[0] for file in files} <= names
    for file, result in files.items():
        assert result["device"] and result["torch"], file
        rows = [row for row in results.ROWS if any(results.findings(row, {file: result}))]
        assert rows, f"no row reads {file}"
    page = (FOLDER / "RESULTS.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)", page):
        assert (FOLDER / target).is_file()
    shared = (FOLDER / "side_by_side.py").read_text(encoding="utf-8")
    for row in results.ROWS:
        program, script, *options = row.command.split()
        if program == "make":
            assert f"\n{script}:" in (FOLDER.parent / "Makefile").read_text(encoding="utf-8")
            continue
        text = (FOLDER.parent / script).read_text(encoding="utf-8") + shared
        for option in options:
            assert not option.startswith("--") or f'"{option}"' in text, row.command


def mode(speed: float, ours: dict[str, Any]) -> dict[str, Any]:
    timed = {"seconds": 2.0, "spread": 0.02}
    return {"speed": speed, "wan_core": timed | ours, "resident": timed, "diffusers": timed}


@pytest.mark.parametrize(
    ("name", "result", "text", "reached"),
    [
        ("wan14b-720p", {"modes": {"compiled": mode(1.0, {})}}, "1.000 ×", "yes"),
        ("wan14b-720p", {"modes": {"compiled": mode(0.999, {})}}, "2.000 s ± 1.0%", "no"),
        (
            "wan14b-480p",
            {"modes": {"offload-compiled": mode(1.2, {"beside resident": 1.03, "peak GB": 5.69})}},
            "+3.0%, peak 5.30 GiB",
            "yes",
        ),
        (
            "wan14b-480p",
            {"modes": {"offload-compiled": mode(1.2, {"beside resident": 1.0, "peak GB": 5.7})}},
            "peak 5.31 GiB",
            "no",
        ),
        (
            "swap_setup",
            {
                "of a read": 2.5,
                "of diffusers": 0.51,
                "sides": {"wan_core": {"seconds": 12.0}, "diffusers": {"seconds": 23.5}},
            },
            "2.50 reads (12.0 s), 0.51 of diffusers' 23.5 s",
            "no",
        ),
        ("kills", {"measured": "20 of 20", "met": True}, "20 of 20", "yes"),
    ],
)
def test_figures(
    results: ModuleType, name: str, result: dict[str, Any], text: str, reached: str
) -> None:
    page = results.page({f"{name}.card.json": {"device": "a card", **result}})
    (line,) = [line for line in page.splitlines() if f"results/{name}.card.json" in line]
    assert text in line
    assert f"| {reached} |" in line


def test_what_a_file_says_of_itself(results: ModuleType) -> None:
    about = {"device": "a card", "torch": "2.11", "size": "8x8x5", "note": "by hand", "rows": 64}
    page = results.page({"unknown.card.json": about})
    told = "8x8x5; by hand; our feed-forward handles 64 tokens at a time"
    assert page.endswith(f"| unknown.card.json | a card | torch 2.11 | {told} |\n")


def test_what_was_not_measured_says_so(results: ModuleType) -> None:
    lines = results.page({}).splitlines()
    assert sum("| not measured |" in line for line in lines) == len(results.ROWS)


def test_a_blocks_linear_layers_together(results: ModuleType) -> None:
    rows = [
        {"inputs": a, "outputs": b, "milliseconds": {"bf16": 4.0, "fp8": fp8, "compiled": 9.0}}
        for (a, b), fp8 in zip(results.LAYERS, (4.0, 2.0, 2.0), strict=True)
    ]
    assert results.linears_together(rows) == pytest.approx(32 / 28)
