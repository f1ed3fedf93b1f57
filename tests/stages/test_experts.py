"""Two experts: each serves its steps and is loaded when they begin; one solver runs through both."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from wan_core import Session
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WorkflowError
from wan_core.contract.events import Event, TaskStarted
from wan_core.contract.requests import LoadRequest
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.families import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

WAN_CORE_CONTRACT = CONTRACT_VERSION
TEXT = """
format = 1
model = {{ family = "{family}" }}
output = {{ path = "{family}.mkv" }}
memory = {{ ram = "{ram}" }}
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
frames = 5
width = 32
height = 32
steps = 4
guidance = {guidance}
{more}
"""
called: list[tuple[str, int]] = []
loaded: dict[str, weakref.ref[Any]] = {}


def load(request: LoadRequest) -> Any:
    """The bundled transformer, which notes who calls it."""
    denoiser = load_transformer(request)
    name = request.slot.partition(".")[2]
    loaded[name] = weakref.ref(denoiser.transformer)
    denoiser.transformer.register_forward_pre_hook(lambda *_: called.append((name, len(called))))
    return denoiser


def two(boundary: float) -> Family:
    part = attrs.evolve(TINY_T2V.components["transformer"], load=f"{__name__}:load")
    others = {k: c for k, c in TINY_T2V.components.items() if k != "transformer"}
    return attrs.evolve(
        TINY_T2V,
        name="two",
        components={"transformer.high": part, "transformer.low": part, **others},
        preset=attrs.evolve(TINY_T2V.preset, boundary=boundary),
    )


@hookimpl
def wan_register() -> Sequence[Family]:
    return [two(0.8)]


@pytest.fixture
def plugins() -> Plugins:
    called.clear()
    loaded.clear()
    core = next(iter(installed_entry_points()))
    return Plugins([core, Found("two", "two", "1", lambda: sys.modules[__name__])])


def run(plugins: Plugins, folder: Path, events: list[Event], **fields: Any) -> np.ndarray:
    fields = {"family": "two", "ram": "8GB", "guidance": 4.0, "more": "", **fields}
    workflow = parse_workflow(TEXT.format(**fields), name="w.toml", folder=folder, plugins=plugins)
    with Session(plugins=plugins) as session:
        result = session.run(workflow, listen=events.append)
        gc.collect()
        alive = {name: one() is not None for name, one in loaded.items()}
    (folder / "alive").write_text(str(sorted(n for n, a in alive.items() if a)))
    return np.stack(list(read_frames(result.outputs[0])))


def test_equal_experts_make_the_video_of_one_transformer(plugins: Plugins, tmp_path: Path) -> None:
    apart = run(plugins, tmp_path, [])
    # shift 3: sigmas 1, 0.9, 0.75, 0.5 of which two are at or above the boundary, with two branches each
    assert [name for name, _ in called] == ["high"] * 4 + ["low"] * 4
    together = run(plugins, tmp_path, [], family="tiny-t2v")
    assert np.array_equal(apart, together)


def test_where_room_is_short_one_leaves_before_the_other_comes(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the flat sum for the largest text encoder is more than all the tiny models together
    monkeypatch.setattr("wan_core.planning.phases.TEXT_ACTIVATIONS", 0)
    events: list[Event] = []
    roomy = run(plugins, tmp_path, events)
    assert (tmp_path / "alive").read_text() == "['high', 'low']"
    (tmp_path / "two.mkv").unlink()
    workflow = parse_workflow(
        TEXT.format(family="two", ram="8GB", guidance=4.0, more=""),
        folder=tmp_path,
        plugins=plugins,
    )
    with Session(plugins=plugins) as session:
        plan = session.plan(workflow)
    names = [phase.name for phase in plan.phases]
    assert names[1:3] == ["generate / sampling, high noise", "generate / sampling, low noise"]
    tight = run(plugins, tmp_path, events := [], ram=f"{plan.peak}B")
    tasks = [e.task for e in events if isinstance(e, TaskStarted) and "transformer" in e.task]
    assert tasks == ["loading transformer for high noise", "loading transformer for low noise"]
    assert (tmp_path / "alive").read_text() == "[]"  # the VAE has made both leave
    assert np.array_equal(tight, roomy)


def test_scales_are_given_by_expert(plugins: Plugins, tmp_path: Path) -> None:
    run(plugins, tmp_path, [], guidance="[1, 4]")
    assert [name for name, _ in called] == ["high"] * 2 + [
        "low"
    ] * 4  # at scale 1 one branch is enough


def test_a_run_of_the_last_steps_needs_the_low_expert_only(
    plugins: Plugins, tmp_path: Path
) -> None:
    run(plugins, tmp_path, [], more="start_step = 2")
    assert {name for name, _ in called} == {"low"}


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ('transformer = "a.safetensors"', "family two has two experts"),
        ('transformer = { high = "a" }', "must name a file for each of the two experts"),
        ('vae = { high = "a", low = "b" }', "family two has one vae"),
        ('"transformer.high" = "a"', "no option"),
    ],
)
def test_mistakes(plugins: Plugins, tmp_path: Path, model: str, sentence: str) -> None:
    text = (
        f'format = 1\n[model]\nfamily = "two"\n{model}\n[[stages]]\nuse = "generate"\nprompt = ""'
    )
    with pytest.raises(WorkflowError, match=sentence), Session(plugins=plugins) as session:
        session.plan(parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins))
