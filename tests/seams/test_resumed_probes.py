"""The probes go on after they were cut short, without a line of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import attrs
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

import given_families
from PIL import Image

from wan_core import Session
from wan_core.contract.errors import Cancelled
from wan_core.contract.events import Event, TaskProgress
from wan_core.engine import keep
from wan_core.engine.unfinished import unfinished
from wan_core.media import read_frames
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

WRITING = "decoding and writing"


def probe(name: str) -> Plugins:
    core = next(iter(installed_entry_points()))
    module = f"tests.seams.{name}.plugin"
    return Plugins([core, Found(name, f"wan-plugin-{name}", "0", lambda: import_module(module))])


@attrs.frozen
class Case:
    """A workflow, and how often its stage reports a step."""

    plugins: Callable[[], Plugins]
    text: Callable[[Path], str]
    steps: int


def stage(family: str, use: str, more: str) -> Callable[[Path], str]:
    return lambda folder: (
        f'format = 1\n[model]\nfamily = "{family}"\n[[stages]]\nuse = "{use}"\nprompt = "a dog"\n'
        f'{more}\n[output]\npath = "out.mkv"\noverwrite = true\n'
    )


def given(family: str) -> Callable[[Path], str]:
    def text(folder: Path) -> str:
        pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "first.png")
        written = given_families.workflow_text(
            family, folder / "out.mkv", image=str(folder / "first.png"), steps=4
        )
        return written if "overwrite" in written else f"{written}\noverwrite = true\n"

    return text


CASES = {
    "longcat, two segments": Case(
        lambda: probe("longcat"),
        stage(
            "longcat-random",
            "longcat-segments",
            'negative_prompt = "blur"\nsegments = 2\nguidance = { scale = 4, zero_star = true }',
        ),
        6,
    ),
    "ovi, picture and sound": Case(
        lambda: probe("ovi"), stage("ovi-probe", "ovi-probe-generate", "steps = 4"), 4
    ),
    "ovi, a solver with noise": Case(
        lambda: probe("ovi"),
        stage("ovi-probe", "ovi-probe-generate", 'steps = 4\nsolver = "dpm++_sde"'),
        4,
    ),
    "a pinned first frame": Case(lambda: given_families.discovered(), given("wan2.2-ti2v-5b"), 4),
    "a picture as channels": Case(
        lambda: given_families.discovered(), given("wan2.1-i2v-14b-480p"), 4
    ),
    "two experts": Case(lambda: given_families.discovered(), given("wan2.2-i2v-a14b"), 4),
}


@pytest.mark.parametrize("name", CASES)
def test_every_step_can_be_the_last_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "SHARE", float("inf"))
    case = CASES[name]
    plugins = case.plugins()
    workflow = parse_workflow(case.text(tmp_path), name="w.toml", folder=tmp_path, plugins=plugins)
    cache = tmp_path / "cache"
    seen: list[int] = []

    def run(stop: int | None, resume: bool) -> np.ndarray:
        seen.clear()

        def listen(event: Event) -> None:
            if isinstance(event, TaskProgress) and event.task.startswith("sampling"):
                seen.append(event.done)
                if len(seen) == stop:
                    raise KeyboardInterrupt

        with Session(plugins=plugins, cache=cache) as session:
            path = session.run(workflow, listen=listen, resume=resume).outputs[0]
        return np.stack(list(read_frames(path)))

    whole = run(None, resume=False)
    assert len(seen) == case.steps
    for stop in range(1, case.steps + 1):
        with pytest.raises(Cancelled):
            run(stop, resume=False)
        assert np.array_equal(run(None, resume=True), whole)
        assert len(seen) == case.steps - stop
        assert unfinished(cache) == []
    # one step a process
    with pytest.raises(Cancelled):
        run(1, resume=False)
    for _ in range(case.steps - 1):
        with pytest.raises(Cancelled):
            run(1, resume=True)
    assert np.array_equal(run(None, resume=True), whole)


def test_a_loop_of_its_own_begins_anew(tmp_path: Path) -> None:
    """The streamed probe steps by itself and its caches are nobody's: what came before it is not made again."""
    plugins = probe("flashvsr")
    text = """
format = 1
models.small = { family = "tiny-random" }
models.large = { family = "upscale-probe-random" }
output = { path = "out.mkv", overwrite = true }
[[stages]]
use = "generate"
model = "small"
name = "first"
prompt = "a dog"
frames = 29
[[stages]]
use = "upscale-probe"
model = "large"
video = "first.video"
sparse_ratio = 0.05
"""
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=plugins)
    seen: list[tuple[str, int]] = []

    def run(stops: bool, resume: bool) -> np.ndarray:
        seen.clear()

        def listen(event: Event) -> None:
            if isinstance(event, TaskProgress):
                seen.append((event.task, event.done))
                if stops and event.task == WRITING and event.done:
                    raise KeyboardInterrupt

        with Session(plugins=plugins, cache=tmp_path / "cache") as session:
            path = session.run(workflow, listen=listen, resume=resume).outputs[0]
        return np.stack(list(read_frames(path)))

    whole = run(stops=False, resume=False)
    assert "sampling" in dict(seen)
    written = [done for task, done in seen if task == WRITING]
    assert len(whole) == 29 and written[-1] == 29 > written[0]
    with pytest.raises(Cancelled):
        run(stops=True, resume=False)
    assert "sampling" in dict(seen)
    assert np.array_equal(run(stops=False, resume=True), whole)
    assert "sampling" not in dict(seen)
    assert [done for task, done in seen if task == WRITING] == written
