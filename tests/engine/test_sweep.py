"""Sweeps: everything is loaded once, each run has its own file, and no failure stops the others."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wan_core import Session
from wan_core.contract.errors import Cancelled, MediaError
from wan_core.contract.events import (
    Event,
    Note,
    RunFinished,
    RunStarted,
    SweepFinished,
    TaskStarted,
)
from wan_core.engine import RunResult
from wan_core.media import read_frames
from wan_core.planning import Plan, make_plans
from wan_core.plugins import Plugins
from wan_core.workflow import parse_workflows

TEXT = """
format = 1
model = { family = "tiny-random" }
output = { path = "clip.mp4" }
[[stages]]
use = "generate"
prompt = ["a circle", "a square"]
seed = [1, 2]
"""


@pytest.fixture
def plans(tmp_path: Path) -> tuple[Plan, ...]:
    plugins = Plugins.discover()
    workflows = parse_workflows(TEXT, name="test.toml", folder=tmp_path, plugins=plugins)
    return make_plans(workflows, plugins)


def frames(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path)))


def test_all_runs_with_everything_loaded_once(plans: tuple[Plan, ...], tmp_path: Path) -> None:
    events: list[Event] = []
    with Session() as session:
        result = session.sweep(plans, listen=events.append)
    names = ["clip-prompt1-1", "clip-prompt1-2", "clip-prompt2-1", "clip-prompt2-2"]
    assert [one.outputs for one in outcomes(result)] == [(tmp_path / f"{n}.mp4",) for n in names]
    assert result.failures == ()
    tasks = Counter(e.task for e in events if isinstance(e, TaskStarted))
    assert {n: c for n, c in tasks.items() if n.startswith("loading")} == {
        "loading text encoder": 1,
        "loading transformer": 1,
        "loading vae": 1,
    }
    # the first run encodes the texts of all: two prompts and the negative one
    first = next(e for e in events if isinstance(e, TaskStarted) and e.task == "encoding")
    assert first.total == 3
    labels = [e.label for e in events if isinstance(e, RunStarted)]
    assert labels[3] == 'prompt "a square", seed 2'
    assert sum(isinstance(e, RunFinished) for e in events) == 4
    written = [str(one.outputs[0]) for one in outcomes(result)]
    sheet = str(tmp_path / "test-sheet.png")
    assert events[-1] == SweepFinished(tuple(written), 0, sheet)


def test_a_run_of_a_sweep_is_the_run_alone(plans: tuple[Plan, ...], tmp_path: Path) -> None:
    with Session() as session:
        together = [frames(o.outputs[0]) for o in outcomes(session.sweep(plans))]
    for path in tmp_path.glob("*.mp4"):
        path.unlink()
    with Session() as session:
        alone = frames(session.run(plans[2]).outputs[0])
    assert np.array_equal(together[2], alone)
    assert not np.array_equal(together[2], together[3])


def test_one_failure_does_not_stop_the_others(
    plans: tuple[Plan, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wan_core.engine import run

    real: Callable[..., Any] = run.write_video

    def failing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.stem == "clip-prompt1-2":
            raise MediaError("it can't be", where=str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(run, "write_video", failing)
    events: list[Event] = []
    with Session() as session:
        result = session.sweep(plans, listen=events.append)
    assert [isinstance(one, RunResult) for one in result.outcomes] == [True, False, True, True]
    assert isinstance(result.failures[0], MediaError)
    (told,) = [e.text for e in events if isinstance(e, Note) and e.level == "error"]
    assert told.startswith('run 2 of 4 (prompt "a circle", seed 2) failed: ')
    assert "it can't be" in told
    assert len(list(tmp_path.glob("*.mp4"))) == 3
    assert result.sheet is not None


def test_ctrl_c_stops_them_all(plans: tuple[Plan, ...], tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, RunStarted) and event.label.endswith("seed 2"):
            raise KeyboardInterrupt

    with (
        Session() as session,
        pytest.raises(Cancelled, match="in run 2 of 4; written before it: 1"),
    ):
        session.sweep(plans, listen=stop)
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["clip-prompt1-1.mp4"]


def test_the_contact_sheet_shows_every_run_and_replaces_nothing(
    plans: tuple[Plan, ...], tmp_path: Path
) -> None:
    (tmp_path / "test-sheet.png").write_text("mine")
    with Session() as session:
        result = session.sweep(plans)
    assert (tmp_path / "test-sheet.png").read_text() == "mine"
    assert result.sheet == tmp_path / "test-sheet-2.png"
    with Image.open(result.sheet) as sheet:
        # four rows of (at most) six frames of 32 x 32, and room for labels
        assert sheet.height >= 4 * 32
        assert sheet.width >= 5 * 32


@pytest.mark.parametrize("trouble", ["full disk", "video gone"])
def test_trouble_with_the_contact_sheet_is_a_note(
    plans: tuple[Plan, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if trouble == "video gone" and isinstance(event, RunFinished):
            Path(event.outputs[0]).unlink()

    if trouble == "full disk":
        monkeypatch.setattr(Path, "write_bytes", full)
    with Session() as session:
        result = session.sweep(plans[:2], listen=listen)
    assert len(outcomes(result)) == 2
    assert result.sheet is None
    (told,) = [e.text for e in events if isinstance(e, Note) and e.level == "warning"]
    assert told.startswith("the contact sheet could not be made: ")
    assert isinstance(events[-1], SweepFinished)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("provenance", "labels"),
    [("full", ['prompt "a circle", seed 1', 'prompt "a circle", seed 2']),
     ("none", ["prompt1, seed 1", "prompt1, seed 2"])],
)  # fmt: skip
def test_the_contact_sheet_tells_no_prompt_that_the_videos_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provenance: str, labels: list[str]
) -> None:
    from wan_core.engine import sweep

    rows: list[Any] = []
    monkeypatch.setattr(sweep, "labelled_sheet", lambda given: rows.extend(given) or b"")
    text = TEXT.replace('"clip.mp4"', f'"clip.mp4", provenance = "{provenance}"')
    with Session() as session:
        workflows = parse_workflows(
            text, name="test.toml", folder=tmp_path, plugins=session.plugins
        )
        session.sweep(workflows[:2])
        assert session.sweep([]).outcomes == ()
    assert [label for label, _ in rows] == labels


def outcomes(result: Any) -> list[RunResult]:
    return [one for one in result.outcomes if isinstance(one, RunResult)]
