"""Host memory has one budget: what computes on the CPU and what is swapped from there share it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from wan_core import Session
from wan_core.contract.errors import ResourceError
from wan_core.contract.events import Event, TaskProgress, TaskStarted
from wan_core.engine.results import RunResult
from wan_core.media import read_frames
from wan_core.planning import Library, Plan, look, make_plan
from wan_core.planning.machine import Machine, beside
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


def planned(session: Session, folder: Path, text: str = TEXT) -> Plan:
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=session.plugins)
    return make_plan(workflow, session.plugins, device="cpu", library=Library(()))


def frames(result: RunResult) -> np.ndarray:
    return np.concatenate(list(read_frames(result.outputs[0])))


def test_all_of_host_memory_is_within_ram(session: Session, tmp_path: Path) -> None:
    """The idle encoder leaves when the transformer needs its room, and the other way round."""
    plan = planned(session, tmp_path)
    want = frames(session.run(plan))
    session.close()
    # what it works with is little here; a budget then bounds weights
    phases = tuple(attrs.evolve(phase, activations=1_000_000) for phase in plan.phases)
    peak = max(phase.peak for phase in phases)
    assert plan.bounds
    plan = attrs.evolve(plan, phases=phases, bounds=attrs.evolve(plan.bounds, stated_ram=peak))
    main = plan.models["main"]
    swapped, encoder = main.resident_bytes("transformer"), main.weight_bytes("text_encoder")
    assert peak == swapped + 1_000_000 < swapped + encoder
    held: dict[str, int] = {}

    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress):
            titles = [one.title for one in session._host.residency._residents.values()]
            now = session._residencies["cpu"].held
            held[event.task] = max(held.get(event.task, 0), now)
            assert now <= peak
            assert event.task != "sampling" or titles == ["tiny-t2v transformer"]

    for _ in range(2):
        assert np.array_equal(frames(session.run(plan, listen=listen)), want)
    assert abs(held["sampling"] - swapped) <= 0.01 * swapped


@pytest.mark.parametrize("ram", ["", 'ram = "1GiB"\n'])
def test_what_lies_there_is_there_for_the_next_run(
    ram: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of a session that holds something finds less free: not a reason to let that go."""
    first = planned(session, tmp_path)
    swapped = first.models["main"].host_bytes("transformer")
    started: list[str] = []

    def free() -> int:
        return 2**29 + 2 * swapped - session._host.residency.bytes

    def listen(event: Event) -> None:
        if isinstance(event, TaskStarted):
            started.append(event.task)

    monkeypatch.setattr("wan_core.planning.machine.free_ram", free)
    monkeypatch.setattr("wan_core.planning.bounds.MARGIN", 2**29 + swapped // 2)
    text = TEXT.replace("blocks_to_swap", f"{ram}blocks_to_swap")
    for _ in range(3):
        plan = planned(session, tmp_path, text)
        session.run(plan, listen=listen)
    assert plan.bounds
    assert plan.bounds.host < swapped == session._host.residency.bytes
    assert started.count("loading transformer") == 1


def test_a_session_plans_with_what_it_holds_itself(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the same workflow has the same plan, and finds its components where they are."""
    memory = session._residencies["cpu"]
    monkeypatch.setattr("wan_core.planning.machine.free_ram", lambda: 2**30 - memory.held)
    workflow = parse_workflow(TEXT, name="w.toml", folder=tmp_path, plugins=session.plugins)
    plans = []
    for _ in range(2):
        plans.append(session.plan(workflow))
        session.run(plans[-1])
    first, second = plans
    assert memory.held > 10_000_000
    assert first.machine.ram == second.machine.ram == 2**30
    assert (first.bounds, first.models, first.notes) == (second.bounds, second.models, second.notes)


@pytest.mark.parametrize(("held", "ram"), [(0, 9), (5, 14), (9, 16)])
def test_no_machine_has_more_than_it_has(held: int, ram: int) -> None:
    machine = Machine("cpu", "some CPU", 9, whole_ram=16)
    assert beside(machine, held).ram == ram


def test_what_torch_has_reserved_of_a_gpu_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    played = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda index: "some GPU",
        "mem_get_info": lambda index: (3_000, 10_000),
        "memory_reserved": lambda index: 5_000,
    }
    for name, play in played.items():
        monkeypatch.setattr(torch.cuda, name, play)
    machine = look("cuda")
    assert (machine.vram, machine.whole_vram) == (8_000, 10_000)


def test_a_full_disk_is_told_where_units_have_to_lie_in_files(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(session._host, "_room", session._host._room.bounded(0))
    plan = planned(session, tmp_path)
    main = plan.models["main"]
    # in another precision than that of the file, so that weights are made and don't lie in it as they are
    made = attrs.evolve(main.on("cpu", "bfloat16"), placements=main.placements)
    plan = attrs.evolve(plan, models={"main": made})
    with pytest.raises(ResourceError) as caught:
        session.run(plan)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'cache'}: ")
    assert (
        " has no room in host memory, and the file of 1 MB that it is to lie in cannot be " in said
    )
    assert (
        "written (No space left on device); give [memory] more ram, or make room for the " in said
    )
    assert not any(one.users for one in session._host.residency._residents.values())
    assert not list((tmp_path / "cache").glob("tmp*"))


def test_without_a_gpu_units_leave_room_for_what_computes(session: Session, tmp_path: Path) -> None:
    """In the same memory: units go to files rather than that the slots have no room."""
    plan = planned(session, tmp_path)
    main = plan.models["main"]
    want = frames(session.run(plan))
    session.close()
    assert plan.bounds
    budget = main.resident_bytes("transformer") - 4_000_000
    bounds = attrs.evolve(plan.bounds, stated_ram=budget)
    plan = attrs.evolve(plan, phases=(), bounds=bounds)
    held: list[tuple[int, int]] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling":
            held.append((session._host.residency.bytes, session._residencies["cpu"].held))

    assert np.array_equal(frames(session.run(plan, listen=listen)), want)
    assert len(held) == 2
    for swapped, everything in held:
        assert everything <= budget
        assert swapped == main.host_bytes("transformer") - 4_000_000
