"""Parts of a state in host memory: every read sees what was last assigned, every assignment travels once."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from swap_models import ARRIVALS, drawn
from torch import Tensor

from wan_core.contract.state import State, StateSpec
from wan_core.memory import SimulatedCopier, Span, SwappedParts

SIZE = 768 + 256  # bytes of a part: 640 of k, 20 of v, aligned


class Counting(SimulatedCopier):
    """Counts the copies that leave the device: those into buffers that are not its own."""

    def __init__(self, arrivals: Callable[[int], int]) -> None:
        super().__init__(arrivals)
        self.left = 0
        self.own: list[weakref.ref[Tensor]] = []

    def allocate(self, size: int) -> Tensor:
        buffer = super().allocate(size)
        self.own.append(weakref.ref(buffer))
        return buffer

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Span:
        self.left += all(one() is not buffer for one in self.own)
        return super().fill(buffer, source, after)


def part(value: float) -> dict[str, Tensor]:
    return {"k": torch.full((8, 20), float(value)), "v": torch.full((10,), float(value)).bfloat16()}


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_what_is_only_read_is_written_once(arrivals: str) -> None:
    copier = SimulatedCopier(ARRIVALS[arrivals]())
    filled = State(StateSpec("kv", 0), {f"blocks.{i}": part(i) for i in range(5)})
    parts = SwappedParts(copier, filled.parts)
    state = attrs.evolve(filled, parts=parts)
    for _ in range(3):
        for index in range(5):
            got = state.parts[f"blocks.{index}"]
            for name, tensor in part(index).items():
                assert torch.equal(got[name], tensor)
                assert got[name].dtype == tensor.dtype
    del got
    assert parts.written == 5
    assert parts.fetched == 15 + 1  # and the first again, for the step that did not come
    assert copier.peak == 3 * SIZE  # two in a caller's hands, one on its way
    del state, parts
    gc.collect()
    copier.finish()  # finds no copy whose memory is gone
    assert copier.now == 0


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_what_changes_is_written_back_exactly_once(arrivals: str) -> None:
    copier = Counting(ARRIVALS[arrivals]())
    parts = SwappedParts(copier, {f"blocks.{i}": part(i) for i in range(4)})
    for _ in range(3):
        for index in range(4):
            own = dict(parts[f"blocks.{index}"])
            own["k"].add_(10)  # in place, or another tensor
            own["v"] = own["v"] + 10
            parts[f"blocks.{index}"] = own
            own["k"].zero_()  # what a model does with it afterwards is its own affair
    assert parts.written == 4 + 3 * 4
    assert copier.left == 3 * 4  # what was there at first never came from the device
    for index in range(4):
        assert torch.equal(parts[f"blocks.{index}"]["k"], part(index + 30)["k"])
        assert torch.equal(parts[f"blocks.{index}"]["v"], part(index + 30)["v"])


@given(
    calls=st.lists(st.tuples(st.sampled_from("rrwgd"), st.integers(0, 3)), max_size=40),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
def test_a_mapping_like_any_other(calls: list[tuple[str, int]], seed: int) -> None:
    """Reads, writes, growing writes and deletions in any order agree with a dictionary."""
    copier = SimulatedCopier(drawn(random.Random(seed)))
    parts = SwappedParts(copier)
    want: dict[str, Tensor] = {}
    writes = 0
    for number, (what, index) in enumerate(calls):
        unit = f"blocks.{index}"
        if what == "r":
            assert (unit in want) == (parts.get(unit) is not None)
            if unit in want:
                assert torch.equal(parts[unit]["k"], want[unit])
        elif what == "d":
            if want.pop(unit, None) is not None:
                del parts[unit]
        else:
            size = 5 if what == "w" else 5 + number
            want[unit] = torch.full((size,), float(number))
            parts[unit] = {"k": want[unit].clone()}
            writes += 1
        assert list(parts) == list(want)
        assert parts.written == writes
    for unit, tensor in want.items():
        assert torch.equal(parts[unit]["k"], tensor)


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_a_part_on_its_way_is_overtaken_by_what_is_assigned(arrivals: str) -> None:
    copier = SimulatedCopier(ARRIVALS[arrivals]())
    parts = SwappedParts(copier, {f"blocks.{i}": part(i) for i in range(3)})
    assert torch.equal(parts["blocks.0"]["k"], part(0)["k"])  # sends for 1
    parts["blocks.1"] = part(5)
    assert torch.equal(parts["blocks.1"]["k"], part(5)["k"])  # sends for 2
    parts["blocks.0"]  # sends for 1
    parts["blocks.1"] = {"k": torch.ones(999)}  # of another shape
    assert torch.equal(parts["blocks.1"]["k"], torch.ones(999))
    del parts["blocks.2"]
    assert set(parts) == {"blocks.0", "blocks.1"}
    for value in range(6):
        parts["blocks.0"] = part(value)
    assert copier.now <= 3 * SIZE  # one on its way here, two leaving
    del parts
    gc.collect()
    copier.finish()
    assert copier.now == 0


def test_a_part_alone_is_not_sent_for_ahead() -> None:
    parts = SwappedParts(SimulatedCopier(), {"blocks.0": part(1)})
    for _ in range(3):
        parts["blocks.0"]
    assert parts.fetched == 3


def test_what_is_not_there_is_a_key_error() -> None:
    parts = SwappedParts(SimulatedCopier(), {"": {}, "blocks.0": part(1)})
    assert parts[""] == {}
    with pytest.raises(KeyError):
        parts["blocks.1"]
