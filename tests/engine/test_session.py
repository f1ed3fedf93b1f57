"""Sessions: a workflow in, a video out; nothing lost, nothing half-written, nothing loaded twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wan_core import Session
from wan_core.contract.errors import Cancelled, ResourceError, WanCoreError
from wan_core.contract.events import (
    Event,
    Note,
    RunFailed,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)
from wan_core.media import read_frames
from wan_core.planning.bounds import Bounds
from wan_core.planning.machine import Machine
from wan_core.planning.predict import CONTEXT
from wan_core.workflow import Workflow

Make = Callable[..., Workflow]


def frames(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path)))


def started(events: list[Event]) -> list[str]:
    return [e.task for e in events if isinstance(e, TaskStarted)]


def test_a_run_writes_the_video_and_tells_how_it_goes(make: Make, tmp_path: Path) -> None:
    events: list[Event] = []
    with Session() as session:
        result = session.run(make(), listen=events.append)
    assert result.outputs == (tmp_path / "out.mp4",)
    assert frames(result.outputs[0]).shape == (5, 32, 32, 3)
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    stages = [e.stage for e in events if isinstance(e, StageStarted | StageFinished)]
    assert stages == ["generate", "generate"]
    sampled = [e.done for e in events if isinstance(e, TaskProgress) and e.task == "sampling"]
    assert sampled == [1, 2]
    written = [e.done for e in events if isinstance(e, TaskProgress) and "writing" in e.task]
    assert written[-1] == 5
    finished = {e.task for e in events if isinstance(e, TaskFinished)}
    assert finished == set(started(events))
    assert result.seconds["generate / sampling"] > 0
    assert result.peak_ram > 10_000_000
    assert result.peak_vram is None


def test_same_seed_same_bits_other_seed_other_bits(make: Make, tmp_path: Path) -> None:
    videos = []
    with Session() as session:
        for seed in (1, 1, 2):
            session.run(make(f"seed = {seed}"))
            videos.append(frames(tmp_path / "out.mp4"))
    assert np.array_equal(videos[0], videos[1])
    assert not np.array_equal(videos[0], videos[2])


def test_a_session_keeps_components_between_runs(make: Make) -> None:
    with Session() as session:
        first: list[Event] = []
        session.run(make(), listen=first.append)
        again: list[Event] = []
        session.run(make("seed = 2"), listen=again.append)
    assert {"loading text encoder", "loading transformer", "loading vae"} <= set(started(first))
    assert not any(task.startswith("loading") for task in started(again))


def test_all_texts_are_encoded_in_one_residency_before_the_first_stage(make: Make) -> None:
    second = '[[stages]]\nuse = "generate"\nprompt = "a square"\nname = "second"'
    events: list[Event] = []
    with Session() as session:
        session.run(make(second), listen=events.append)
    tasks = [e for e in events if isinstance(e, TaskStarted | StageStarted)]
    first_stage = next(i for i, e in enumerate(tasks) if isinstance(e, StageStarted))
    before = [e.task for e in tasks[:first_stage] if isinstance(e, TaskStarted)]
    assert before == ["loading text encoder", "encoding"]
    assert started(events).count("encoding") == 1
    # three texts: two prompts and the (equal) negative prompt of both
    encoding = next(e for e in events if isinstance(e, TaskStarted) and e.task == "encoding")
    assert encoding.total == 3
    assert [e.stage for e in events if isinstance(e, StageStarted)] == ["generate", "second"]


def test_without_guidance_only_one_text_is_encoded(make: Make) -> None:
    events: list[Event] = []
    with Session() as session:
        session.run(make("guidance = 1"), listen=events.append)
    encoding = next(e for e in events if isinstance(e, TaskStarted) and e.task == "encoding")
    assert encoding.total == 1


def stop_at(task: str) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == task:
            raise KeyboardInterrupt

    return listen


def test_stopped_while_loading_leaves_nothing(make: Make, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TaskStarted) and event.task == "loading transformer":
            raise KeyboardInterrupt

    with Session(cache=tmp_path / "cache") as session, pytest.raises(Cancelled, match="stopped"):
        session.run(make(), listen=stop)
    assert not list((tmp_path / "cache").rglob("runs/*"))


def test_stopped_while_sampling_keeps_the_state_only(make: Make, tmp_path: Path) -> None:
    says = "stopped; what it has made is kept in"
    with Session(cache=tmp_path / "cache") as session, pytest.raises(Cancelled, match=says):
        session.run(make(), listen=stop_at("sampling"))
    assert not list(tmp_path.glob("*.mp4*")) + list(tmp_path.glob(".*"))
    kept = (tmp_path / "cache").rglob("runs/*/*")
    assert {one.name for one in kept} == {"generate.0-0.safetensors", "run.json", "lock"}


def test_stopped_while_writing_keeps_the_latents_and_no_half_file(
    make: Make, tmp_path: Path
) -> None:
    says = "what it has made is kept in"
    with Session(cache=tmp_path / "cache") as session, pytest.raises(Cancelled, match=says):
        session.run(make(), listen=stop_at("decoding and writing"))
    assert not list(tmp_path.glob("*.mp4*")) + list(tmp_path.glob(".*"))
    (kept,) = (tmp_path / "cache").rglob("generate.safetensors")
    assert kept.stat().st_size > 16 * 2 * 4 * 4 * 4


def test_a_run_that_succeeds_leaves_no_latents_behind(make: Make, tmp_path: Path) -> None:
    with Session(cache=tmp_path / "cache") as session:
        session.run(make())
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_failure_is_told_to_the_listener(make: Make, tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / "taken").write_text("a file where a folder should be")
    workflow = make(text='format=1\n[model]\nfamily="tiny-random"\n'
                    '[[stages]]\nuse="generate"\nprompt="x"\n[output]\npath="out.mp4"')  # fmt: skip

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TaskProgress) and "writing" in event.task:
            raise WanCoreError("the disk is full")

    with Session() as session, pytest.raises(WanCoreError, match="the disk is full"):
        session.run(workflow, listen=listen)
    failed = events[-1]
    assert isinstance(failed, RunFailed)
    assert "the disk is full; what it has made is kept in" in failed.error


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_note(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    events: list[Event] = []
    with Session(cache=tmp_path / "cache") as session:
        result = session.run(make(), listen=events.append)
    assert result.outputs[0].exists()
    notes = [e.text for e in events if isinstance(e, Note)]
    assert len(notes) == 1
    assert notes[0].startswith("this run can't be gone on with should it be cut short")


@pytest.mark.parametrize("path", ["out.mp4", "out/%d.png"])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("overwrite", ["false", "true"])
def test_what_appears_while_it_samples_costs_no_more_than_the_name(
    make: Make, tmp_path: Path, path: str, kind: str, overwrite: str
) -> None:
    text = (
        'format=1\n[model]\nfamily="tiny-random"\n[[stages]]\nuse="generate"\nprompt="x"\n'
        f'[output]\npath="{path}"\noverwrite={overwrite}'
    )
    place = tmp_path / Path(path).parts[0]
    there = place if kind == "file" else place / "mine.txt"
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, TaskStarted) and event.task == "sampling":
            there.parent.mkdir(exist_ok=True)
            there.write_text("mine")

    with Session() as session:
        (written,) = session.run(make(text=text), listen=listen).outputs
    assert frames(written).shape == (5, 32, 32, 3)
    notes = [e.text for e in events if isinstance(e, Note)]
    if (path, kind, overwrite) == ("out.mp4", "file", "true"):
        assert (written, notes) == (place, [])
        return
    assert there.read_text() == "mine"
    assert written == tmp_path / path.replace("out", "out-2")
    assert notes == [f"{tmp_path / path} is there already, and was left as it is"]


def test_two_failed_runs_keep_their_latents_apart(make: Make, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Session(cache=cache) as session:
        for _ in range(2):
            with pytest.raises(Cancelled):
                session.run(make(), listen=stop_at("decoding and writing"))
        session.run(make())
    assert len(list(cache.rglob("generate.safetensors"))) == 2


def tight(ram: str) -> str:
    return (
        'format=1\n[model]\nfamily="tiny-t2v"\n[[stages]]\nuse="generate"\nframes=5\nsteps=1\n'
        'prompt="a small red circle moves right on a black background"\n'
        f'[memory]\nram="{ram}"\n[output]\npath="out.mp4"\noverwrite=true'
    )


def test_what_the_plan_allows_the_run_can_do(make: Make, tmp_path: Path) -> None:
    """With room for the largest phase only, components leave for each other."""
    with Session(cache=tmp_path / "cache") as session:
        plan = session.plan(make(text=tight("1GB")))
        just = max(plan.peak, 1_048_576)
        events: list[Event] = []
        session.run(make(text=tight(f"{just}B")), listen=events.append)
        loaded = [task for task in started(events) if task.startswith("loading")]
        assert set(loaded) == {"loading text encoder", "loading vae", "loading transformer"}
        with pytest.raises(ResourceError, match=r"memory\.ram: .* is predicted to need"):
            session.plan(make(text=tight(f"{just - 1_000_000}B")))


def test_bounds_of_memory_go_with_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, int | None]] = []
    gpu = Machine("cuda:0", "A GPU", 8 * 10**9, 6 * 10**9)
    monkeypatch.setattr("wan_core.engine.session.look", lambda device: gpu)
    monkeypatch.setattr("wan_core.engine.session.bound", lambda *given: said.append(given))
    with Session() as session:
        plan: Any = SimpleNamespace(models={}, bounds=Bounds(5 * 10**9, 8 * 10**9, 5 * 10**9))
        session._residencies_for(plan)
        assert said == [("cpu", 5 * 10**9 - CONTEXT)]
    assert said[1:] == [("cpu", None)]
