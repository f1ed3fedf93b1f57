"""The golden runner: the project's own cases pass, and its exit codes mean what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_core.testing.golden.__main__ import main
from wan_core.testing.golden.kinds import PLANNED
from wan_core.testing.golden.runner import find_cases, handlers

OWN = Path(__file__).parents[1] / "golden"
UNIPC = "kijai_unipc"
CASES = find_cases([OWN])


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_case_of_the_project_passes(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(case), "--strict"]) == 0, capsys.readouterr().out


def test_every_built_kind_is_covered() -> None:
    kinds = {json.loads(case.read_text())["kind"] for case in CASES}
    later = {"wan.conditioning", "lora.merge", "clip.encode", "clip.preprocess", "vae.taehv"}
    assert {k for k in handlers() if not k.startswith("quant.")} - kinds == later


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for file in (OWN / "samplers").glob(f"{UNIPC}.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / f"{UNIPC}.json"


def change(case: Path, **fields: object) -> None:
    case.write_text(json.dumps(json.loads(case.read_text()) | fields))


def test_a_wrong_number_fails(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = copied.with_suffix(".safetensors")
    tensors = load_file(file)
    tensors["outputs.trajectory"][-1] *= 1.001
    save_file(tensors, file)
    assert main([str(copied.parent)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_nan_fails(copied: Path) -> None:
    file = copied.with_suffix(".safetensors")
    tensors = load_file(file)
    tensors["outputs.trajectory"][0, 0, 0, 0, 0, 0] = float("nan")
    save_file(tensors, file)
    assert main([str(copied.parent)]) == 1


def test_a_stored_result_that_nobody_compared_fails(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copied.with_suffix(".safetensors")
    save_file(load_file(file) | {"outputs.more": torch.ones(1)}, file)
    assert main([str(copied.parent)]) == 1
    assert "not compared: outputs.more" in capsys.readouterr().out


def test_an_unknown_kind_is_exit_code_2(copied: Path) -> None:
    change(copied, kind="no.such.kind")
    assert main([str(copied.parent)]) == 2


def test_a_planned_kind_is_not_built_and_strict_minds(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "more"
    other.mkdir()
    for file in tmp_path.glob(f"{UNIPC}.*"):
        shutil.copy(file, other)
    change(other / copied.name, kind=sorted(PLANNED)[0])
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--strict"]) == 1
    # nothing but what is not built: nothing ran
    assert main([str(other)]) == 1


def test_nothing_to_run_is_exit_code_1(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "nowhere")]) == 1


def test_a_case_that_makes_a_handler_crash_fails(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.with_suffix(".safetensors").unlink()
    assert main([str(copied.parent)]) == 1
    assert "KeyError" in capsys.readouterr().out
