"""Host memory has one budget: what computes on the CPU and what is swapped from there share it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wan_core import Session
from wan_core.contract.events import Event, TaskProgress
from wan_core.engine.results import RunResult
from wan_core.media import read_frames
from wan_core.planning import Library, Plan, make_plan
from wan_core.workflow import parse_workflow

TEXT = """
format = 1
[model]
family = "tiny-t2v"
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
frames = 5
width = 32
height = 32
steps = 2
[memory]
blocks_to_swap = 7
{ram}
[output]
path = "out.mkv"
overwrite = true
"""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(device="cpu", cache=tmp_path / "cache") as session:
        yield session


@pytest.fixture(autouse=True)
def no_kept_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run encodes its texts anew."""
    monkeypatch.setattr("wan_core.engine.text._key", lambda model, prompt: None)


def planned(session: Session, folder: Path, ram: str = "") -> Plan:
    text = TEXT.format(ram=ram)
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=session.plugins)
    return make_plan(workflow, session.plugins, device="cpu", library=Library(()))


def frames(result: RunResult) -> np.ndarray:
    return np.concatenate(list(read_frames(result.outputs[0])))


def test_all_of_host_memory_is_within_ram(session: Session, tmp_path: Path) -> None:
    """To the byte: the encoder is not in use any more when the transformer needs its room."""
    free = planned(session, tmp_path)
    want = frames(session.run(free))
    encoder = free.models["main"].weight_bytes("text_encoder")
    peak = max(phase.peak for phase in free.phases)
    held: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress):
            held.append(session._residencies["cpu"].held)

    session.close()
    plan = planned(session, tmp_path, f'ram = "{peak}B"')
    assert np.array_equal(frames(session.run(plan, listen=listen)), want)
    assert max(held) <= peak
    assert max(held) > encoder
    # a second run finds the swapped transformer idle, and lets it go where the encoder needs the room
    assert np.array_equal(frames(session.run(plan, listen=listen)), want)
    assert max(held) <= peak
