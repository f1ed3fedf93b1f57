"""Block swap that shrinks and grows, is measured, and brings what stays from host memory."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from swap_models import Stack, drawn
from torch import Tensor, nn

from wan_core.memory import (
    BlockSwap,
    Guests,
    SimulatedCopier,
    Traffic,
    Unit,
    UnitTimes,
    WithParts,
    packed_bytes,
    slot_count,
    stack_of,
    swap_bytes,
    tensors_of,
)

WIDTHS = (3, 200, 64, 65, 1, 90)
X = torch.zeros(2)
Change = tuple[set[int], int]


def sizes(stack: Stack) -> list[int]:
    return [packed_bytes(t.nbytes for t in tensors_of(u.module).values()) for u in stack.units()]


def rest(stack: Stack) -> int:
    return packed_bytes(tensor.nbytes for tensor in stack.rest().values())


changes = st.tuples(st.sets(st.integers(0, 5)), st.integers(0, 6))


@given(
    first=changes,
    steps=st.lists(st.one_of(st.integers(0, 5), changes), max_size=25),
    from_host=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
@torch.no_grad()
def test_other_units_at_any_time(
    first: Change, steps: list[int | Change], from_host: bool, seed: int
) -> None:
    stack = Stack(WIDTHS)
    parameters = list(stack.parameters())
    copier = SimulatedCopier(drawn(random.Random(seed)))
    swapped, prefetch = first
    swap = BlockSwap(stack, stack.names(*swapped), prefetch, copier, from_host=from_host)
    with swap.active():
        for step in steps:
            if isinstance(step, int):
                assert torch.equal(stack.layers[step](X), X + stack.value(step))
            else:
                swapped, prefetch = step
                swap.change(stack.names(*swapped), prefetch)
            assert swap.swapped == tuple(stack.names(*sorted(swapped)))
            assert copier.now == swap.slot_bytes * slot_count(len(swapped), prefetch)
            expected = swap_bytes(sizes(stack), swapped, prefetch) + rest(stack)
            assert swap.device_bytes == expected
    assert copier.now == 0
    assert torch.equal(stack(X), X + sum(stack.value(i) for i in range(6)))
    assert all(a is b for a, b in zip(stack.parameters(), parameters, strict=True))


@torch.no_grad()
def test_a_change_that_cannot_be() -> None:
    stack = Stack(WIDTHS)
    swap = BlockSwap(stack, stack.names(1, 2), 1, SimulatedCopier())
    hook = stack.layers[1].register_forward_hook(lambda *_: swap.change(stack.names(3)))
    with swap.active():
        with pytest.raises(ValueError, match=r"no units layers\.9"):
            swap.change(["layers.9"])
        with pytest.raises(ValueError, match="-1 prefetched"):
            swap.change(prefetch=-1)
        with pytest.raises(RuntimeError, match="while a unit computes"):
            stack(X)
        hook.remove()
        assert swap.swapped == ("layers.1", "layers.2")
        assert torch.equal(stack(X), X + sum(stack.value(i) for i in range(6)))


@torch.no_grad()
def test_a_device_without_room_may_be_asked_for_less() -> None:
    class Small(SimulatedCopier):
        def allocate(self, size: int) -> Tensor:
            if self.now + size > 2 * 1280:  # two slots
                raise torch.OutOfMemoryError("no room")
            return super().allocate(size)

    stack = Stack(WIDTHS)
    copier = Small()
    swap = BlockSwap(stack, stack.names(1), 0, copier, from_host=True)
    with swap.active():
        with pytest.raises(torch.OutOfMemoryError):
            swap.change(stack.names(*range(6)), 5)
        assert not swap.is_active
        assert copier.now == 0
        swap.change(prefetch=1)
        swap.open()
        assert torch.equal(stack(X), X + sum(stack.value(i) for i in range(6)))
    assert copier.now == 0


@torch.no_grad()
def test_units_that_are_changed_while_swapping_pauses() -> None:
    stack = Stack(WIDTHS)
    swap = BlockSwap(stack, stack.names(*range(6)), 1, SimulatedCopier())
    with swap.active():
        stack(X)
        with swap.paused():
            assert not swap.is_active
            stack.layers[2].weight.data = torch.full((500,), 1.0)
        assert torch.equal(stack.layers[2](X), X + 1000)
        assert swap.slot_bytes == packed_bytes([2000, 4])


@pytest.mark.parametrize(("prefetch", "hidden", "copies"), [(0, 0, 18), (1, 1, 19), (3, 1, 21)])
@torch.no_grad()
def test_what_was_moved_and_hidden(prefetch: int, hidden: float, copies: int) -> None:
    stack = Stack((4000,) * 6)
    told: list[UnitTimes] = []
    copier = SimulatedCopier(lambda coming: 1)
    swap = BlockSwap(stack, stack.names(*range(6)), prefetch, copier, tell=told.append)
    with swap.active():
        for _ in range(3):
            stack(X)
    traffic = swap.traffic
    assert (traffic.copies, traffic.bytes) == (copies, copies * swap.slot_bytes)
    assert traffic.hidden == pytest.approx(hidden, abs=0.5)  # of the first pass, nothing can be
    assert [times.unit for times in told] == stack.names(*range(6)) * 3
    assert all(times.copying > 0 and times.computing > 0 for times in told)
    waited = [times.waiting > 0 for times in told]
    assert waited == ([True] * 18 if prefetch == 0 else [True, *[False] * 17])
    assert traffic.copying == pytest.approx(sum(times.copying for times in told))
    assert traffic.waiting == pytest.approx(sum(times.waiting for times in told))


def test_a_unit_that_is_used_twice_was_copied_once() -> None:
    stack = Stack((4000,) * 2)
    told: list[UnitTimes] = []
    swap = BlockSwap(stack, stack.names(0), 0, SimulatedCopier(), tell=told.append)
    with torch.no_grad(), swap.active():
        stack(X)
        stack(X)
    first, second = told
    assert first.copying > 0
    assert (second.copying, second.waiting) == (0, 0)
    assert str(UnitTimes("blocks.3", 0.01234, 0.0, 0.5)) == (
        "blocks.3: copied in 12.34 ms, waited 0.00 ms, computed 500.00 ms"
    )


def test_traffic_is_added_up() -> None:
    whole = Traffic(1, 10, 2.0, 0.5)
    whole.add(Traffic(2, 20, 2.0, 1.5))
    assert whole == Traffic(3, 30, 4.0, 2.0)
    assert whole.hidden == 0.5
    assert whole.since(Traffic(1, 10, 2.0, 0.5)) == Traffic(2, 20, 2.0, 1.5)
    assert Traffic().hidden is None
    assert Traffic(1, 1, 1.0, 2.0).hidden == 0


def test_guests_go_home_and_keep_what_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(4))
    homes = one.data_ptr(), other.data_ptr()
    guests = Guests(torch.device("cpu"))
    monkeypatch.setattr(Tensor, "to", lambda tensor, device: tensor + 0)  # as to another device
    guests.bring([one, one, other])
    guests.bring([other])
    assert one.data_ptr() != homes[0]
    assert other.data_ptr() != homes[1]
    other.data = torch.full((4,), 5.0)
    guests.withdraw()
    assert one.data_ptr() == homes[0]
    assert torch.equal(other.detach(), torch.full((4,), 5.0))
    guests.withdraw()


class Model(Stack):
    """A stack with a part beside its units, and a table."""

    def __init__(self) -> None:
        super().__init__(WIDTHS)
        self.embedding = nn.Linear(2, 2)
        self.table = nn.Embedding(4, 2)

    def parts(self) -> list[Unit]:
        return [Unit("embedding", self.embedding)]

    def tables(self) -> list[str]:
        return ["table"]


@torch.no_grad()
def test_parts_and_tables() -> None:
    model = Model()
    stack = WithParts(model)
    want = model.embedding(X)
    names = ["embedding", *model.names(0, 2)]
    assert [unit.name for unit in stack.units()] == ["embedding", *model.names(*range(6))]
    assert set(stack.rest()) == {"last", "table.weight"}
    swap = BlockSwap(stack, [*names, "table"], 1, SimulatedCopier(), from_host=True)
    assert swap.swapped == (*names, "table")
    with_table = BlockSwap(stack, names, 1, SimulatedCopier(), from_host=True)
    assert with_table.device_bytes - swap.device_bytes == packed_bytes([32])
    with swap.active():
        assert torch.equal(model.embedding(X), want)
        assert torch.equal(model.layers[0](X), X + model.value(0))
    assert swap.copies >= 2


def test_the_stack_of_a_component() -> None:
    class Wrapper:
        def __init__(self, *within: object) -> None:
            self.name = "a"
            for index, one in enumerate(within):
                setattr(self, f"model{index}", one)

    stack = Stack(WIDTHS)
    assert stack_of(stack) is stack
    assert stack_of(Wrapper(stack)) is stack
    assert stack_of(Wrapper(stack, Stack(WIDTHS))) is None
    assert stack_of(Wrapper()) is None
    assert stack_of("text") is None
