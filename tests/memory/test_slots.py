"""Slots: whatever is asked of them in whatever order, a unit in use is whole, alone and never overwritten."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from torch import Tensor

from wan_core.memory import HostMemory, HostSource, SimulatedCopier, Slot, SlotPool, SlotState

UNITS = 5
WIDTHS = (3, 700, 64, 65, 1)


def source(index: int) -> HostSource:
    weights = torch.full((WIDTHS[index],), float(index))
    return HostMemory()(f"unit {index}", [weights, weights.int()])


SOURCES = [source(index) for index in range(UNITS)]
SIZE = max(one.packing.bytes for one in SOURCES)


def holds(slot: Slot, index: int) -> bool:
    """Whether a slot has exactly the weights of a unit."""
    weights, integers = slot.views(SOURCES[index])
    return bool((weights == index).all() and (integers == index).all())


class Slots(RuleBasedStateMachine):
    """Loads, uses and ends of uses, and other numbers of slots, with copies that arrive at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.arriving = 0
        self.copier = SimulatedCopier(lambda coming: self.arriving)
        self.pool = SlotPool(self.copier, SIZE, 3)
        self.in_use: dict[int, Slot] = {}
        self.loaded = 0

    @rule(count=st.integers(0, 4))
    def arrive(self, count: int) -> None:
        self.arriving = count

    @rule(index=st.integers(0, UNITS - 1), keep=st.sets(st.integers(0, UNITS - 1)))
    def load(self, index: int, keep: set[int]) -> None:
        if self.pool.holding(f"unit {index}") is not None:
            return
        kept = {f"unit {one}" for one in keep}
        before = {slot.unit for slot in self.pool.slots if slot.unit in kept}
        slot = self.pool.load(SOURCES[index], kept)
        assert before <= {other.unit for other in self.pool.slots}
        if slot is None:
            assert all(s.state is SlotState.IN_USE or s.unit in kept for s in self.pool.slots)
        else:
            self.loaded += 1
            assert slot is self.pool.holding(f"unit {index}")

    @precondition(lambda self: any(slot.unit for slot in self.pool.slots))
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        held = sorted(int(slot.unit[-1]) for slot in self.pool.slots if slot.unit)
        index = data.draw(st.sampled_from(held))  # no slot: what is drawn is kept for reports
        slot = self.pool.holding(f"unit {index}")
        assert slot is not None
        if index in self.in_use:
            with pytest.raises(RuntimeError, match="IN_USE"):
                self.pool.use(slot)
            return
        self.pool.use(slot)
        self.in_use[index] = slot

    @precondition(lambda self: self.in_use)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.in_use)))
        self.pool.done(self.in_use.pop(index))

    @rule(count=st.integers(0, 4))
    def resize(self, count: int) -> None:
        if count < len(self.in_use):
            with pytest.raises(RuntimeError, match="in use"):
                self.pool.resize(count)
            return
        self.pool.resize(count)
        assert len(self.pool.slots) == count

    @rule()
    def close_and_begin_again(self) -> None:
        self.pool.close()
        self.in_use.clear()
        assert self.copier.now == 0
        self.pool = SlotPool(self.copier, SIZE, 3)
        self.loaded = 0

    @invariant()
    def units_in_use_are_whole(self) -> None:
        for index, slot in self.in_use.items():
            assert slot.state is SlotState.IN_USE
            assert holds(slot, index)

    @invariant()
    def nothing_is_twice_or_too_much(self) -> None:
        held = [slot.unit for slot in self.pool.slots if slot.unit is not None]
        assert len(held) == len(set(held))
        assert self.copier.now == SIZE * len(self.pool.slots)
        assert self.pool.copies == self.loaded
        for slot in self.pool.slots:
            assert (slot.unit is None) == (slot.state is SlotState.FREE)


Slots.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSlots = Slots.TestCase


class Forgetful(SimulatedCopier):
    """Does not wait for copies."""

    def wait(self, copied: object) -> None:
        pass


class Hasty(SimulatedCopier):
    """Says that uses ended long ago."""

    def mark(self) -> object:  # type: ignore[override]
        return self._first

    def __init__(self) -> None:
        super().__init__()
        self._first = super().mark()


def test_the_simulation_sees_weights_that_are_not_there() -> None:
    pool = SlotPool(Forgetful(), SIZE, 1)
    slot = pool.load(SOURCES[1], ())
    assert slot is not None
    pool.use(slot)
    weights: Tensor = slot.views(SOURCES[1])[0]
    assert weights.isnan().all()


def test_the_simulation_sees_a_slot_overwritten_in_use() -> None:
    pool = SlotPool(Hasty(), SIZE, 1)
    slot = pool.load(SOURCES[1], ())
    assert slot is not None
    pool.use(slot)
    pool.done(slot)
    with pytest.raises(AssertionError, match="does not wait"):
        pool.load(SOURCES[2], ())


def test_the_simulation_sees_memory_that_goes_too_early() -> None:
    copier = SimulatedCopier()
    copied = copier.fill(copier.allocate(4), torch.zeros(4, dtype=torch.uint8), copier.mark())
    with pytest.raises(AssertionError, match="given back"):
        copied.synchronize()


def test_a_copy_that_fails_leaves_the_slot_free() -> None:
    class Broken(HostSource):
        def send(self, copy: Callable[[Tensor], object]) -> None:  # type: ignore[override]
            raise OSError("the disk is gone")

    pool = SlotPool(SimulatedCopier(), SIZE, 1)
    pool.load(SOURCES[1], ())
    with pytest.raises(OSError, match="disk"):
        pool.load(Broken("unit 0", [torch.zeros(3)], pin=False), ())
    assert [(slot.state, slot.unit) for slot in pool.slots] == [(SlotState.FREE, None)]
    slot = pool.load(SOURCES[0], ())
    assert slot is not None
    pool.use(slot)
    assert holds(slot, 0)


def test_a_slot_in_use_is_given_to_nobody() -> None:
    pool = SlotPool(SimulatedCopier(), SIZE, 1)
    slot = pool.load(SOURCES[1], ())
    assert slot is not None
    pool.use(slot)
    assert pool.load(SOURCES[2], ()) is None
    assert holds(slot, 1)


def test_what_is_not_there_yet_goes_last() -> None:
    pool = SlotPool(SimulatedCopier(), SIZE, 3)
    first, second = pool.load(SOURCES[0], ()), pool.load(SOURCES[1], ())
    assert first is not None
    assert second is not None
    pool.use(second)
    pool.done(second)
    third = pool.load(SOURCES[2], ())  # the slot that holds nothing
    assert third not in (first, second, None)
    assert pool.load(SOURCES[3], ()) is second  # it is there and was used
    assert pool.holding("unit 0") is first
