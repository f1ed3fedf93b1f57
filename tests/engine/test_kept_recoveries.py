"""Runs that recovered and were cut short: they go on as small as they had become, and say so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from test_recovery import IDLE, KEY, Shortage, ways
from test_swapped_runs import BLOCKS, PLUGINS, TEXT, frames, planned, swapped

from wan_core import Session
from wan_core.contract.errors import Cancelled
from wan_core.contract.events import Event, Note, Recovered, TaskProgress
from wan_core.contract.placement import RESIDENT, Placement
from wan_core.engine import keep, text
from wan_core.engine.components import ModelComponents
from wan_core.engine.recoveries import FILE, Recoveries, read_recoveries, smaller
from wan_core.engine.results import RunResult
from wan_core.engine.unfinished import unfinished
from wan_core.media import probe
from wan_core.models.encoders import TextEncoder
from wan_core.models.vae import WanVAE
from wan_core.models.wan.block import WanBlock
from wan_core.planning import Library, Plan, make_plans
from wan_core.planning.provenance import read_record
from wan_core.workflow import parse_workflows

Kill = Callable[..., None]
CALLS = 2 * len(BLOCKS)
"""Of blocks in a step, which has two branches."""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=PLUGINS, cache=tmp_path / "cache") as session:
        yield session


@pytest.fixture(autouse=True)
def only_the_first_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are written when they must be, and texts are encoded anew."""
    monkeypatch.setattr(keep, "SHARE", 0.0)
    monkeypatch.setattr(text, "_key", lambda model, prompt: None)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Placement]]:
    """Where components were loaded to, by slot."""
    found: dict[str, list[Placement]] = {}
    load = ModelComponents._load

    def noting(self: ModelComponents, slot: str, keep: Any = None) -> Any:
        found.setdefault(slot, []).append(self.placement(slot))
        return load(self, slot, keep)

    monkeypatch.setattr(ModelComponents, "_load", noting)
    return found


def said_of(result: RunResult) -> str:
    return read_record(probe(result.outputs[0]).comment, where="").machine.get("recovered", "")


def in_a_new_process(folder: Path, plan: Plan, **how: Any) -> tuple[RunResult, list[Event]]:
    """Nothing that was loaded is there any more."""
    events: list[Event] = []
    with Session(plugins=PLUGINS, cache=folder / "cache") as fresh:
        result = fresh.run(plan, listen=events.append, **{"resume": True, **how})
        assert not fresh._host.residency._residents
    return result, events


def test_it_begins_with_what_was_swapped(
    session: Session,
    tmp_path: Path,
    killed: Kill,
    loaded: dict[str, list[Placement]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = frames(session.run(planned(tmp_path)))
    with monkeypatch.context() as patch:
        Shortage(patch).at(WanBlock, "forward", lambda n: n in (3, 4))
        killed(planned(tmp_path), "sampling", 1)
    loaded.clear()
    result, events = in_a_new_process(tmp_path, planned(tmp_path))
    assert [len(one.swapped) for one in loaded["transformer"]] == [4]
    assert np.array_equal(frames(result), whole)
    # told in the summary as what has happened, and not as if it happened now
    assert len(result.recoveries) == 2
    assert "transformer: 4 of 7 blocks are swapped" in ways(result)[1]
    assert not any(isinstance(event, Recovered) for event in events)
    told = [event.text for event in events if isinstance(event, Note)]
    assert f"before it was cut short: {result.recoveries[1]}" in told
    assert said_of(result) == ""
    assert unfinished(session.cache) == []
    # and nothing is learned for a run that is new
    loaded.clear()
    again, _ = in_a_new_process(tmp_path, planned(tmp_path), resume=False)
    assert loaded["transformer"] == [RESIDENT]
    assert not again.recoveries


def test_with_fewer_rows_it_has_the_bits_of_the_run_that_was_not_cut_short(
    session: Session, tmp_path: Path, killed: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step before the change was not due to be kept; the change keeps it."""
    monkeypatch.setattr("wan_core.engine.ladder.ROWS", (8192, 3))
    plan = planned(tmp_path, steps=6)
    plain = frames(session.run(plan))

    def short(patch: pytest.MonkeyPatch) -> None:
        Shortage(patch).at(WanBlock, "forward", lambda n: 3 * CALLS < n <= 3 * CALLS + 6)

    with monkeypatch.context() as patch:
        short(patch)
        want = session.run(plan)
    whole = frames(want)
    assert not np.array_equal(whole, plain)
    with monkeypatch.context() as patch:
        short(patch)
        killed(plan, "sampling", 5)
    (run,) = unfinished(session.cache)
    assert run.progress() == "generate: step 3 of 6"
    result, _ = in_a_new_process(tmp_path, plan)
    assert np.array_equal(frames(result), whole)
    assert result.recoveries == want.recoveries
    assert said_of(result) == said_of(want)
    assert "3 rows are handled at a time" in said_of(result)


def test_it_runs_out_of_memory_again_and_tells_each_line_once(
    session: Session, tmp_path: Path, killed: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Shortage(patch).at(WanBlock, "forward", lambda n: n in (3, 4))
        killed(planned(tmp_path), "sampling", 1)
    Shortage(monkeypatch).at(WanBlock, "forward", lambda n: n < 2)
    result, events = in_a_new_process(tmp_path, planned(tmp_path))
    assert len([event for event in events if isinstance(event, Recovered)]) == 2
    assert len(set(result.recoveries)) == len(result.recoveries) == 3
    assert [way.rpartition(": ")[2][:9] for way in ways(result) if "blocks" in way] == [
        "4 of 7 bl",
        "all 7 blo",
    ]


@pytest.mark.parametrize("allowed", [True, False])
def test_tiles_are_gone_on_with_where_they_are_allowed(
    allowed: bool,
    session: Session,
    tmp_path: Path,
    killed: Kill,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Decoding was cut short. A file that says otherwise than the workflow changes no picture."""
    tiled: list[bool] = []
    stream, fails = WanVAE.decode_stream, [3]

    def failing(self: WanVAE, *args: Any, **known: Any) -> Any:
        tiled.append(self.tiling is not None)
        if len(tiled) <= fails[0]:
            raise torch.OutOfMemoryError("no")
        return stream(self, *args, **known)

    monkeypatch.setattr(WanVAE, "decode_stream", failing)
    plan = planned(tmp_path, more="[memory]\nallow_inexact = true" if allowed else "")
    if not allowed:
        fails[0] = 0
    killed(plan, "decoding and writing", 5 if allowed else 1)  # tiles are joined at the end
    (run,) = unfinished(session.cache)
    if not allowed:
        Recoveries((), {("main", "vae"): Placement(tiles=True)}).write(run.path)
    tiled.clear()
    fails[0] = 0
    result, _ = in_a_new_process(tmp_path, plan)
    assert tiled[0] == allowed
    assert ("changes the picture" in said_of(result)) == allowed


def test_texts_are_encoded_where_they_were(
    session: Session,
    tmp_path: Path,
    killed: Kill,
    loaded: dict[str, list[Placement]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        Shortage(patch).at(TextEncoder, "encode", lambda n: n < 4)
        killed(planned(tmp_path), "sampling", 1)
    loaded.clear()
    result, _ = in_a_new_process(tmp_path, planned(tmp_path))
    assert loaded["text_encoder"] == [Placement(device="cpu")]
    assert "text encoder: it works on the CPU" in said_of(result)


def test_what_was_encoded_as_planned_is_kept_at_once(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two prompts the second finds no room: when it is encoded elsewhere, the first still is what it was."""
    monkeypatch.setattr(text, "_key", KEY)
    Shortage(monkeypatch).at(TextEncoder, "encode", lambda n: 0 < n < 5)
    result = session.run(planned(tmp_path, more='negative_prompt = "a blue square"'))
    assert "on the CPU" in ways(result)[-1]
    assert len(list((session.cache / "text").iterdir())) == 1


def test_another_plan_says_what_the_latents_were_made_with(
    session: Session, tmp_path: Path, killed: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wan_core.engine.ladder.ROWS", (8192, 3))
    with monkeypatch.context() as patch:
        Shortage(patch).at(WanBlock, "forward", lambda n: n < 6)
        killed(planned(tmp_path), "decoding and writing", 1)
    (run,) = unfinished(session.cache)
    before = (run.path / FILE).read_bytes()
    seen: list[bytes] = []
    other = planned(tmp_path, more="seed = 3")

    def listen(event: Event) -> None:
        seen.append((run.path / FILE).read_bytes())

    Shortage(monkeypatch).at(WanVAE, "decode_stream", lambda n: n < 2)
    with Session(plugins=PLUGINS, cache=session.cache) as fresh:
        result = fresh.run(other, listen=lambda e: run.path.exists() and listen(e), resume=run)
    assert "3 rows are handled at a time" in said_of(result)
    assert "blocks are swapped" not in "".join(ways(result)[:2])
    assert set(seen) == {before}  # what belongs to the plan of old stays what it was


SPOILT: dict[str, str | Callable[[Path], object]] = {
    "empty": "",
    "a list": "[]",
    "another version": '{"format": 2, "made": [], "placements": []}',
    "deep": "[" * 100_000,
    "huge": "9" * 5_000_000,
    "control characters": json.dumps(
        {
            "format": 1,
            "made": [{"stage": "", "task": "", "what": "\x1b[2J", "how": "", "exact": True}],
            "placements": [],
        }
    ),
    "negative": json.dumps(
        {
            "format": 1,
            "made": [],
            "placements": [
                {"model": "main", "slot": "vae", **attrs.asdict(RESIDENT), "prefetch": -1}
            ],
        }
    ),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_costs_a_note(
    how: str, session: Session, tmp_path: Path, killed: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = frames(session.run(planned(tmp_path)))
    with monkeypatch.context() as patch:
        Shortage(patch).at(WanBlock, "forward", lambda n: n in (3, 4))
        killed(planned(tmp_path), "sampling", 1)
    (run,) = unfinished(session.cache)
    spoil = SPOILT[how]
    if callable(spoil):
        spoil(run.path / FILE)
    else:
        (run.path / FILE).write_text(spoil)
    result, events = in_a_new_process(tmp_path, planned(tmp_path))
    told = [event.text for event in events if isinstance(event, Note)]
    assert sum("how the run has recovered before is forgotten (is" in one for one in told) == 1
    assert not result.recoveries
    assert np.array_equal(frames(result), whole)


def test_a_sweep_remembers_what_its_runs_have_recovered_from(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run has recovered and is over; the second is stopped."""
    text = TEXT.format(family="tiny-t2v", model="", more="seed = [1, 2]", steps=3)
    workflows = parse_workflows(text, name="s.toml", folder=tmp_path, plugins=PLUGINS)
    plans = make_plans(workflows, PLUGINS, device="cpu", library=Library(()))
    steps = iter(range(10))

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling" and next(steps) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        Shortage(patch).at(WanBlock, "forward", lambda n: n == 0)
        with pytest.raises(Cancelled):
            session.sweep(plans, listen=stop)
    first, second = session.sweep(plans, resume=True).outcomes
    assert isinstance(first, RunResult)
    assert isinstance(second, RunResult)
    assert [IDLE in one.how for one in first.recoveries] == [True]
    assert not second.recoveries
    assert unfinished(session.cache) == []


def test_names_of_nothing_are_left_out(
    session: Session, tmp_path: Path, killed: Kill, loaded: dict[str, list[Placement]]
) -> None:
    killed(planned(tmp_path), "sampling", 1)
    (run,) = unfinished(session.cache)
    strange = Placement(swapped=("blocks.1", "../x", "blocks.99"), prefetch=10**9)
    Recoveries(
        (), {("main", "transformer"): strange, ("main", "x"): strange, ("x", "vae"): strange}
    ).write(run.path)
    loaded.clear()
    in_a_new_process(tmp_path, planned(tmp_path))
    assert [one.swapped for one in loaded["transformer"]] == [("blocks.1",)]
    killed(planned(tmp_path), "sampling", 1)
    (run,) = unfinished(session.cache)
    Recoveries((), {("main", "transformer"): Placement(device="cpu")}).write(run.path)
    loaded.clear()
    in_a_new_process(tmp_path, planned(tmp_path))
    assert loaded["transformer"] == [RESIDENT]


def test_a_full_disk_costs_a_note(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Recoveries, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Recoveries, "write", full)
    Shortage(monkeypatch).at(WanBlock, "forward", lambda n: n in (3, 4))
    events: list[Event] = []
    session.run(planned(tmp_path), listen=events.append)
    told = [event.text for event in events if isinstance(event, Note)]
    assert (
        told.count("how it has recovered could not be kept ([Errno 28] No space left on device)")
        == 1
    )


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    one = Recovered("generate", "sampling", "out of memory", "vae left the device")
    kept = Recoveries(
        (one, attrs.evolve(one, exact=False)),
        {
            ("main", "transformer"): Placement(swapped=("b", "a"), prefetch=0, rows=2048),
            ("main", "vae"): Placement(at_once=1, tiles=True),
            ("other", "text_encoder"): Placement(device="cpu"),
        },
    )
    kept.write(tmp_path)
    assert read_recoveries(tmp_path) == kept
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


NOW, KEPT = swapped("a", "c", prefetch=2), swapped("b", prefetch=1)


@pytest.mark.parametrize(
    ("planned", "kept", "inexact", "want"),
    [
        (RESIDENT, RESIDENT, True, RESIDENT),
        (RESIDENT, swapped("c", "a", prefetch=0), False, swapped("a", "c", prefetch=0)),
        (NOW, KEPT, False, swapped("a", "b", "c", prefetch=1)),
        (swapped("a", prefetch=0), KEPT, False, swapped("a", "b", prefetch=0)),
        (NOW, swapped("z"), False, swapped("a", "c", prefetch=1)),
        (NOW, Placement(device="cpu"), False, Placement(device="cpu")),
        (Placement(device="cpu"), NOW, False, Placement(device="cpu")),
        (Placement(rows=8192), Placement(rows=2048), False, Placement(rows=2048)),
        (Placement(rows=2048), RESIDENT, False, Placement(rows=2048)),
        (RESIDENT, Placement(at_once=1, tiles=True), False, Placement(at_once=1)),
        (RESIDENT, Placement(at_once=1, tiles=True), True, Placement(at_once=1, tiles=True)),
    ],
)
def test_of_two_placements_the_smaller(
    planned: Placement, kept: Placement, inexact: bool, want: Placement
) -> None:
    assert smaller(planned, kept, units=("a", "b", "c"), allow_inexact=inexact) == want
