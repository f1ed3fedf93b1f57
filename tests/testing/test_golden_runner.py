"""The golden runner: the project's own cases pass, and its exit codes mean what they say."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_core.builtin import plugin as core
from wan_core.contract.descriptions import GoldenKinds
from wan_core.hookspecs import hookimpl
from wan_core.plugins import CORE, Found, Plugins
from wan_core.testing.golden.__main__ import main
from wan_core.testing.golden.case import Case, NotBuilt
from wan_core.testing.golden.runner import Verdict, find_cases, handlers, run_case

OWN = Path(__file__).parents[1] / "golden"
UNIPC = "kijai_unipc"
CASES = find_cases([OWN])
TOO_LARGE = {"ati.forward", "ati.generate", "unilumos.forward"}
"""Kinds of plugins whose smallest cases are more than half a megabyte."""


SEAMS = Path(__file__).parents[1] / "seams"


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_case_of_the_project_passes(case: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topic = case.parent.name
    probe = ["--plugin", f"tests.seams.{topic}.plugin"] if (SEAMS / topic).is_dir() else []
    assert main([str(case), "--strict", *probe]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (
            "no.such.module",
            "plugin no.such.module (not installed -): ModuleNotFoundError: No module",
        ),
        ("json", "plugin json (not installed -): it does not state its contract version"),
    ],
)
def test_a_named_plugin_that_is_none_ends_the_run(
    copied: Path, capsys: pytest.CaptureFixture[str], module: str, says: str
) -> None:
    assert main([str(copied.parent), "--plugin", module]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(says)
    assert not said.out


def test_a_named_plugin_brings_its_kinds(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def theirs(case: Case) -> None:
        for name in case.group("outputs."):
            case.check(f"outputs.{name}", case.tensor(f"outputs.{name}"))

    module = ModuleType("golden_by_name")
    vars(module).update(
        WAN_CORE_CONTRACT=(1, 0),
        wan_register=hookimpl(lambda: [GoldenKinds("golden_by_name:HANDLERS")]),
        HANDLERS={"theirs": theirs},
    )
    monkeypatch.setitem(sys.modules, "golden_by_name", module)
    change(copied, kind="theirs")
    assert main([str(copied.parent)]) == 1
    assert main([str(copied.parent), "--plugin", "golden_by_name"]) == 0
    assert "1 ok" in capsys.readouterr().out


def test_every_built_kind_is_covered() -> None:
    of_plugins = find_cases((SEAMS.parents[1] / "plugins").glob("*/tests/golden"))
    kinds = {json.loads(case.read_text())["kind"] for case in [*CASES, *of_plugins]}
    built = {kind for kind in handlers() if not kind.startswith("quant.")}
    assert built - TOO_LARGE <= kinds


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
    change(copied, kind="solver.no_such")
    assert main([str(copied.parent)]) == 2


def test_a_topic_of_no_package_is_not_built_and_strict_minds(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "more"
    other.mkdir()
    for file in tmp_path.glob(f"{UNIPC}.*"):
        shutil.copy(file, other)
    change(other / copied.name, kind="elsewhere.forward")
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


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        ({"tolerance_rel": None}, "tolerance_rel is None, not a number"),
        ({"tolerance_rel": "tight"}, "tolerance_rel is 'tight', not a number"),
        ({"kind": ["a"]}, "kind is ['a'], not a name"),
        ("{", "JSONDecodeError"),
    ],
)
def test_a_damaged_case_fails_and_the_others_run(
    copied: Path, capsys: pytest.CaptureFixture[str], damage: Any, note: str
) -> None:
    damaged = copied.with_name("damaged.json")
    shutil.copy(copied, damaged)
    if isinstance(damage, dict):
        change(damaged, **damage)
    else:
        damaged.write_text(damage)
    assert main([str(copied.parent)]) == 1
    shown = capsys.readouterr().out
    assert note in shown
    assert "1 FAILED, 1 ok" in shown


def test_failed_checks_count_though_the_rest_is_not_built(copied: Path) -> None:
    def handler(case: Case) -> None:
        case.check("outputs.trajectory", case.tensor("outputs.trajectory") + 1)
        raise NotBuilt("the rest")

    outcome = run_case(copied, {Case(copied).kind: handler})
    assert outcome.verdict is Verdict.FAILED
    assert "1 of 1 checks: outputs.trajectory" in outcome.note


class Brings:
    """A plugin with one table of handlers."""

    WAN_CORE_CONTRACT = (1, 0)

    def __init__(self, handlers: str) -> None:
        self.handlers = handlers

    @hookimpl
    def wan_register(self) -> list[GoldenKinds]:
        return [GoldenKinds(self.handlers)]


def test_a_plugin_with_broken_handlers_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def theirs(case: Case) -> None: ...

    module = ModuleType("golden_of_a_plugin")
    module.HANDLERS = {"fade.run": theirs, "wan.rope": theirs}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "golden_of_a_plugin", module)
    found = [
        Found(CORE, "wan-core", "1", lambda: core),
        *(
            Found(name, name, "1", lambda table=table: Brings(table))  # type: ignore[misc]
            for name, table in (
                ("broken", "no.such.module:HANDLERS"),
                ("works", "golden_of_a_plugin:HANDLERS"),
            )
        ),
    ]
    merged = handlers(Plugins(found))
    assert merged["fade.run"] is theirs
    assert merged["wan.rope"] is not theirs
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("no.such.module:HANDLERS does not import: ModuleNotFoundError")
    assert said[1].startswith("golden_of_a_plugin:HANDLERS is not used for kind wan.rope")


def test_null_counts_as_missing(tmp_path: Path) -> None:
    cases = {
        "transformer/t2v_batch_padded": {"real_tokens": None, "diffusers_config": None},
        "transformer/keymap_t2v": {},
        "encoders/umt5_tiny": {},
        "vae/wan21_vae_tiny": {},
        "vae/wan21_vae_tiled": {},
    }
    for name, fields in cases.items():
        for file in (OWN / name).parent.glob(f"{Path(name).stem}.*"):
            shutil.copy(file, tmp_path)
        case = tmp_path / f"{Path(name).stem}.json"
        change(case, **fields)
        data = json.loads(case.read_text())
        if data.get("diffusers_config"):
            heads, dim = data["config"]["num_heads"], data["config"]["dim"]
            theirs = {"attention_head_dim": dim // heads, "num_attention_heads": None}
            change(case, diffusers_config=theirs, config=dict.fromkeys(data["config"]))
        if name.startswith("encoders"):
            optional = dict.fromkeys(("num_buckets", "max_dist", "eps", "shared_pos"))
            change(case, config=data["config"] | optional)
        if name.startswith("vae"):
            optional = {"dec_dim": None, "attn_scales": None}
            absent = dict.fromkeys(("chunks", "frames_used", "carried_cache_splits_latent"))
            absent |= {"clamped": None, "normalised": None} if "tiled" in name else {}
            absent |= {"without_carry_second_part_frames": None, "chunk_output_frames": None}
            calls = [absent | {k: v for k, v in call.items() if k not in absent or v is False}
                     for call in data["calls"]]  # fmt: skip
            change(case, calls=calls, config=data["config"] | optional)
        outcome = run_case(case, handlers())
        assert outcome.verdict is Verdict.PASSED, (name, outcome.note)


@pytest.fixture
def shaky(tmp_path: Path) -> Case:
    """A case whose stored result is the exact one, rounded as float32 did it elsewhere."""
    save_file({"outputs.y": torch.tensor([1.0, 0.5 + 3e-4])}, tmp_path / "c.safetensors")
    (tmp_path / "c.json").write_text('{"kind": "x", "tolerance_rel": 1e-4}')
    return Case(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("float32", "double", "passes"),
    [
        (0.5 + 9e-4, 0.5, True),  # float32 is off by 9e-4 here: the exact result may be by 3e-4
        (0.5 + 1e-5, 0.5, False),  # float32 holds: what is off by 3e-4 is a mistake
        (0.6, 0.6, False),  # wrong in both
        (0.6, 0.6 + 9e-4, False),
    ],
)
def test_rounding_is_allowed_for_and_mistakes_are_not(
    shaky: Case, float32: float, double: float, passes: bool
) -> None:
    shaky.check("outputs.y", torch.tensor([1.0, float32]))
    assert not shaky.checks[0].ok
    exact = shaky.in_double()
    exact.check("outputs.y", torch.tensor([1.0, double], dtype=torch.float64))
    shaky.allow_rounding(exact)
    assert shaky.checks[0].ok is passes
