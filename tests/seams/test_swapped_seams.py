"""The probes' own transformers are swapped without a line of theirs: the engine finds their units."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import attrs
import numpy as np
import pytest

from wan_core import Session
from wan_core.contract.placement import Placement
from wan_core.engine.results import RunResult
from wan_core.media import read_frames
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

TEXT = """
format = 1
model = {{ family = "{family}" }}
output = {{ path = "out.mkv", overwrite = true }}
[[stages]]
use = "{stage}"
prompt = "a red circle moves"
negative_prompt = "blur"
"""
UPSCALED = """
format = 1
models.small = {{ family = "tiny-random" }}
models.large = {{ family = "{family}" }}
output = {{ path = "out.mkv", overwrite = true }}
[[stages]]
use = "generate"
model = "small"
name = "first"
prompt = "a red circle moves"
frames = 21
[[stages]]
use = "{stage}"
model = "large"
video = "first.video"
"""
PROBES = {
    "ovi-probe": ("ovi-probe-generate", TEXT),
    "longcat-random": ("longcat-segments", TEXT),
    "upscale-probe-random": ("upscale-probe", UPSCALED),
}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    probes = [
        Found(name, name, "0", lambda name=name: import_module(f"tests.seams.{name}.plugin"))
        for name in ("ovi", "longcat", "flashvsr")
    ]
    plugins = Plugins([next(iter(installed_entry_points())), *probes])
    assert not plugins.problems
    return plugins


@pytest.fixture
def session(plugins: Plugins, tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=plugins, device="cpu", cache=tmp_path / "cache") as session:
        yield session


def frames(result: RunResult) -> np.ndarray:
    return np.stack(list(read_frames(result.outputs[0])))


@pytest.mark.parametrize("family", PROBES)
@pytest.mark.parametrize(("swapped", "prefetch"), [((0, 1), 0), ((1,), 1), ((0, 1), 3)])
def test_bits_of_a_swapped_run(
    session: Session,
    plugins: Plugins,
    tmp_path: Path,
    family: str,
    swapped: tuple[int, ...],
    prefetch: int,
) -> None:
    stage, text = PROBES[family]
    text = text.format(family=family, stage=stage)
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    plan = session.plan(workflow)
    want = session.run(plan)
    resident = frames(want)
    names = tuple(f"blocks.{index}" for index in swapped)
    placements = {"transformer": Placement(swapped=names, prefetch=prefetch)}
    models = {
        name: attrs.evolve(model, placements=placements if model.family.name == family else {})
        for name, model in plan.models.items()
    }
    result = session.run(attrs.evolve(plan, models=models))
    assert np.array_equal(frames(result), resident)
    assert want.moved == 0
    assert result.moved > 0
