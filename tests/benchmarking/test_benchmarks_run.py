"""Benchmarks run from end to end on tiny models, so that none fails first on a machine that costs money."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from wan_core.contract import Note, TaskFinished, TaskStarted

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SIZES = {"dim": 96, "ffn_dim": 64, "num_heads": 2, "num_layers": 4}
CLIP = ("--height", "16", "--width", "16", "--frames", "5", "--repeats", "2")
ON_CPU = pytest.mark.skipif(torch.cuda.is_available(), reason="is for machines without a GPU")
pytestmark = ON_CPU
GIB = 2**30
TINY = """
format = 1
[model]
family = "tiny-t2v"
[[stages]]
use = "generate"
prompt = "a large red circle moves right on a black background"
width = 32
height = 32
frames = 5
steps = 1
[memory]
vram = 8589934592
[output]
path = "frames/%05d.png"
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(importlib.import_module("side_by_side"), "WIDE", SIZES)
    monkeypatch.setattr("wan_core.memory.compiled.BACKEND", lambda graph, inputs: graph)
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: None)
    yield
    for name in [path.stem for path in FOLDER.glob("*.py")]:
        sys.modules.pop(name, None)


def run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, dict[str, Any]]:
    """The exit code of a benchmark, and what it wrote."""
    out = tmp_path / "result.json"
    script: ModuleType = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [name, *arguments, "--out", str(out)])
    code: int = script.main()
    return code, json.loads(out.read_text())


def test_block_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = ("--frames", "5", "1", "--prefetch", "0", "2")
    code, result = run("block_swap", tmp_path, monkeypatch, *CLIP, *clips)
    assert code == 0
    assert len(result["passes"]) == 4
    assert all(row["bits equal"] for row in result["passes"])
    assert len(result["resident"]["5"]["all seconds"]) == 4
    assert result["swapped"] == 3


def test_a_lora_file_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, result = run("lora_apart", tmp_path, monkeypatch, *CLIP, "--size", "0.0001")
    assert [row["compiled"] for row in result["passes"]] == [False, True]
    assert all(row["strengths count"] and not row["compiled anew"] for row in result["passes"])


@pytest.mark.parametrize("mode", ["compiled", "offload", "fp8", "fp8-products-compiled"])
def test_wan14b(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    moving = "diffusers.hooks.group_offloading.send_to_device"  # which is accelerate's
    monkeypatch.setattr(moving, lambda given, device, **_: given, raising=False)
    code, result = run("wan14b", tmp_path, monkeypatch, *CLIP, "--modes", mode, "--rows", "2")
    row = result["modes"][mode]
    assert code == 0
    assert row["difference"] < (0.2 if "fp8" in mode else 0.05)
    assert row["speed"] == row["diffusers"]["seconds"] / row["wan_core"]["seconds"]
    if mode == "fp8-products-compiled":
        assert row["bf16"]["weights GB"] > row["wan_core"]["weights GB"]
        assert 0 < row["difference from bf16"] < 0.2


def test_beside_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    script = "transformer_vs_diffusers"
    monkeypatch.setattr(importlib.import_module(script), "SMALL", SIZES)
    _, result = run(script, tmp_path, monkeypatch, *CLIP, "--eager-only")
    assert 0 < result["error against float32"]["wan_core"] < 0.05


def test_variants_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("block_variants")
    monkeypatch.setattr(script, "GRIDS", {4: (1, 2, 2)})
    variants = ("--variants", "ours", "qkv", "rope", "diffusers")
    _, result = run("block_variants", tmp_path, monkeypatch, "--tokens", "4", "--eager", *variants)
    assert set(result["variants"]) >= {"ours", "qkv", "rope"}
    assert result["variants"]["ours"]["difference"] < 0.01
    assert result["variants"]["rope"]["difference"] < 0.05


def test_set_up_of_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("swap_setup")
    config = script.wide()
    file = script.write_model(tmp_path, config)
    monkeypatch.setattr(sys, "argv", ["swap_setup", "--one", "wan_core", "--file", str(file)])
    row = script.one_set_up(script.parse())
    assert row["swapped GB"] > 0
    assert row["seconds"] >= row["loading seconds"]
    pytest.importorskip("diffusers")
    theirs = script.assigned(file, config)
    script.offload(theirs)
    precisions = {tensor.dtype for tensor in theirs.parameters()}
    assert precisions == {torch.float32, torch.bfloat16}


def test_peaks_of_tasks() -> None:
    script = importlib.import_module("budgets")
    Peak = script.Peak
    made = iter([(1, 1, 1), (5, 4, 1), (9, 7, 2), (6, 2, 3), (3, 3, 3), (8, 8, 3)])
    peaks = script.Peaks(lambda: Peak(*next(made)))
    peaks(TaskStarted("generate", "sampling"))
    peaks(TaskStarted("generate", "loading transformer"))
    peaks(TaskFinished("generate", "loading transformer", 1.0))
    peaks(Note("one line"))
    peaks(TaskFinished("generate", "sampling", 1.0))
    peaks(TaskStarted("generate", "decoding and writing"))
    peaks.count()
    assert peaks.tasks == {
        "generate / sampling": Peak(9, 7, 3),
        "generate / loading transformer": Peak(9, 7, 2),
        "generate / decoding and writing": Peak(8, 8, 3),
    }
    assert peaks.of_part("sampling, high noise") == Peak(9, 7, 3)
    assert peaks.of_part("decoding").real == 11
    assert peaks.of_part("previews") is None
    assert peaks.whole == Peak(9, 8, 3)
    assert peaks.notes == ["one line"]


def test_a_run_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = importlib.import_module("budgets")
    good = {
        "real peak": 7.9 * GIB,
        "predicted peak": 7.8 * GIB,
        "allocated peak": GIB,
        "context": 0,
    }
    answers = {
        "8": json.dumps(good | {"outputs": 5, "environment": {"device": "a card"}}),
        "12": "Killed",
        "16": json.dumps(good | {"error": "no room", "real peak": 0}),
        "24": json.dumps(good | {"outputs": 5, "predicted peak": 9 * GIB}),
    }

    def child(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if "--one" not in command:
            Path(command[3]).touch()
            return subprocess.CompletedProcess(command, 0, "", "")
        budget = Path(command[-1]).stem.partition("-")[2]
        if budget == "2":
            raise subprocess.TimeoutExpired(command, 5)
        return subprocess.CompletedProcess(command, 1, answers[budget], "what went wrong")

    monkeypatch.setattr(script.subprocess, "run", child)
    asked = ("--folder", str(tmp_path), "--precisions", "fp8", "--budgets", "8", "2", "12", "16")
    code, result = run("budgets", tmp_path, monkeypatch, *asked, "24")
    rows = result["runs"]
    assert code == 1
    assert result["device"] == "a card"
    assert [row["ok"] for row in rows] == [True, False, False, False, False]
    errors = [row.get("error", "") for row in rows]
    assert "took more than" in errors[1]
    assert "what went wrong" in errors[2]
    assert errors[3] == "no room"
    assert rows[4]["within the budget"] and not errors[4]
    assert not (tmp_path / "fp8.safetensors").exists()
    assert (tmp_path / "vae.safetensors").exists()


def test_one_run_under_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the bundled model on the CPU, with a card that is played."""
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *a, **k: zeros(*a, **k | {"device": "cpu"}))
    card = {
        "mem_get_info": (GIB, 2 * GIB),
        "memory_reserved": GIB // 2,
        "max_memory_reserved": 5,
        "max_memory_allocated": 4,
    }
    for name, value in card.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    for name in ("synchronize", "reset_peak_memory_stats", "set_per_process_memory_fraction"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    workflow = tmp_path / "run.toml"
    workflow.write_text(TINY, encoding="utf-8")
    row = importlib.import_module("budgets").one_run(workflow)
    assert "error" not in row
    assert row["outputs"] == 5
    assert row["context"] == GIB // 2
    assert row["real peak"] == GIB // 2 + 5
    phases = {one["phase"].partition(" / ")[2]: one for one in row["phases"]}
    for part in ("text", "sampling", "decoding"):
        assert phases[part]["task"]["allocated"] == 4
    assert "generate / sampling" in row["tasks"]
    json.dumps(row)


def test_products_in_fp8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no card multiplies in 8 bits, the same numbers come from unpacked weights."""
    script = importlib.import_module("fp8_products")
    monkeypatch.setattr(script, "can_multiply", lambda _: True)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    monkeypatch.setattr(script, "TOKENS", 64)
    monkeypatch.setattr(script, "CUDA", torch.device("cpu"))
    monkeypatch.setattr(script, "product", lambda codes, weight, *_: codes.float() @ weight.float())
    layers = {(32, 32): 6, (32, 48): 1, (48, 32): 1}
    for module in (script, importlib.import_module("results")):
        monkeypatch.setattr(module, "LAYERS", layers)
    code, result = run("fp8_products", tmp_path, monkeypatch, *CLIP, "--truth-frames", "5")
    assert code == 1
    assert [(row["inputs"], row["outputs"]) for row in result["linears"]] == list(layers)
    assert all(0 < row["error of fp8"] < 0.1 for row in result["linears"])
    assert result["share of the weights"] < 0.9
    assert result["errors"]["bf16"] < result["errors"]["fp8 unpacked"] < 0.2
    assert result["errors"]["fp8 products"] == result["errors"]["fp8 unpacked"]
    assert set(result["passes"]) == {"bf16", "fp8 products"}
