"""Block swap: the same results with any units swapped, in the memory that was promised, whatever happens."""

from __future__ import annotations

import gc
import random
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from swap_models import ARRIVALS, Stack, drawn
from torch import Tensor, nn

from wan_core.memory import (
    BlockSwap,
    HostMemory,
    SimulatedCopier,
    packed_bytes,
    slot_count,
    swap_bytes,
    tensors_of,
)
from wan_core.memory.pinning import Pages

WIDTHS = (3, 200, 64, 65, 1, 90)
X = torch.zeros(2)


def sizes(stack: Stack) -> list[int]:
    return [packed_bytes(t.nbytes for t in tensors_of(u.module).values()) for u in stack.units()]


def addresses(stack: Stack) -> list[int]:
    return [t.data_ptr() for unit in stack.units() for t in tensors_of(unit.module).values()]


@pytest.mark.parametrize("arrivals", ARRIVALS)
@pytest.mark.parametrize("prefetch", [0, 1, 2, 9])
@pytest.mark.parametrize("swapped", [(), (0,), (5,), (1, 3, 5), (0, 1, 2, 3, 4, 5)], ids=str)
@torch.no_grad()
def test_passes_of_steps(swapped: tuple[int, ...], prefetch: int, arrivals: str) -> None:
    stack = Stack(WIDTHS)
    want = stack(X)
    copier = SimulatedCopier(ARRIVALS[arrivals]())
    swap = BlockSwap(stack, stack.names(*swapped), prefetch, copier)
    home = addresses(stack)
    with swap.active():
        for _ in range(3):  # three steps of two guidance branches
            assert torch.equal(stack(X), want)
            assert torch.equal(stack(X + 1), want + 1)
    assert addresses(stack) == home
    assert torch.equal(stack(X), want)
    resident = sum(size for i, size in enumerate(sizes(stack)) if i not in swapped)
    assert copier.peak + resident == swap_bytes(sizes(stack), swapped, prefetch)
    assert copier.now == 0
    slots = slot_count(len(swapped), prefetch)
    travels = len(swapped) if slots == len(swapped) else 6 * len(swapped) + slots - 1
    assert swap.copies == travels


@given(
    swapped=st.sets(st.integers(0, 5), min_size=1),
    calls=st.lists(st.integers(0, 5), max_size=30),
    prefetch=st.integers(0, 6),
    changes=st.dictionaries(st.integers(0, 29), st.integers(0, 6), max_size=4),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
@torch.no_grad()
def test_any_order_of_calls(
    swapped: set[int], calls: list[int], prefetch: int, changes: dict[int, int], seed: int
) -> None:
    stack = Stack(WIDTHS)
    copier = SimulatedCopier(drawn(random.Random(seed)))
    swap = BlockSwap(stack, stack.names(*swapped), prefetch, copier)
    with swap.active():
        for place, index in enumerate(calls):
            if place in changes:
                swap.prefetch = changes[place]
            assert torch.equal(stack.layers[index](X), X + stack.value(index))
            assert copier.now == swap.slot_bytes * slot_count(len(swapped), swap.prefetch)
    assert copier.now == 0
    assert stack.log == stack.names(*calls)


@torch.no_grad()
def test_the_next_units_are_on_their_way_while_one_computes() -> None:
    """A unit that was prefetched has its copy issued one call before its own."""
    stack = Stack(WIDTHS)
    seen: list[tuple[str, int]] = []
    swap = BlockSwap(stack, stack.names(*range(6)), 2, SimulatedCopier())

    with swap.active():
        pool = swap._pool
        assert pool is not None
        for unit in stack.units():
            unit.module.register_forward_hook(lambda m, *_: seen.append((m.name, pool.copies)))
        stack(X)
        stack(X)
    # the first finds two more on their way; then each call sends one; the cycle has no seam
    assert [copies for _, copies in seen] == list(range(3, 15))


@torch.no_grad()
def test_a_unit_that_is_called_several_times_in_a_row_travels_once() -> None:
    stack = Stack(WIDTHS)
    swap = BlockSwap(stack, stack.names(*range(6)), 1, SimulatedCopier())
    with swap.active():
        for layer in stack.layers:
            for _ in range(5):
                layer(X)
    assert swap.copies == 6 + 1  # and the first again, for the pass that did not come
    assert swap.copied_bytes == sum(sizes(stack)) + sizes(stack)[0]


@torch.no_grad()
def test_a_unit_that_was_prefetched_and_is_skipped_gives_its_slot_up() -> None:
    stack = Stack(WIDTHS)
    copier = SimulatedCopier(ARRIVALS["random"]())
    swap = BlockSwap(stack, stack.names(*range(1, 6)), 1, copier)
    with swap.active():
        for skip in (frozenset({2}), frozenset(), frozenset({1, 5}), frozenset({3, 4}), {1, 2, 3}):
            kept = sum(stack.value(i) for i in range(6) if i not in skip)
            assert torch.equal(stack(X, frozenset(skip)), X + kept)
    assert copier.peak == 2 * swap.slot_bytes


@pytest.mark.parametrize("failing", [0, 2, 5])
@torch.no_grad()
def test_a_step_that_fails_may_be_tried_again(failing: int) -> None:
    stack = Stack(WIDTHS)
    want = stack(X)
    swap = BlockSwap(stack, stack.names(*range(6)), 1, SimulatedCopier())
    home = addresses(stack)
    with swap.active():
        stack.layers[failing].fails = True
        with pytest.raises(RuntimeError, match=f"layers.{failing} failed"):
            stack(X)
        assert addresses(stack) == home
        stack.layers[failing].fails = False
        swap.prefetch = 0
        assert torch.equal(stack(X), want)


@torch.no_grad()
def test_what_fails_within_leaves_nothing_behind() -> None:
    stack = Stack(WIDTHS)
    want = stack(X)
    copier = SimulatedCopier()
    swap = BlockSwap(stack, stack.names(1, 2, 3), 1, copier)
    stack.layers[2].fails = True
    with pytest.raises(RuntimeError, match="failed"), swap.active():
        stack(X)
    gc.collect()
    assert copier.now == 0
    stack.layers[2].fails = False
    assert torch.equal(stack(X), want)
    with swap.active():
        assert torch.equal(stack(X), want)


@torch.no_grad()
def test_other_numbers_of_slots_while_a_unit_computes() -> None:
    stack = Stack(WIDTHS)
    swap = BlockSwap(stack, stack.names(1, 2), 1, SimulatedCopier())
    stack.layers[1].register_forward_hook(lambda *_: setattr(swap, "prefetch", 0))
    with swap.active():
        stack(X)  # one slot is in use, one goes
        assert swap.prefetch == 0
        with pytest.raises(RuntimeError, match="swapped already"), swap.active():
            pass
        assert torch.equal(stack(X), X + sum(stack.value(i) for i in range(6)))
    with pytest.raises(ValueError, match="-1 prefetched"):
        swap.prefetch = -1


@torch.no_grad()
def test_two_experts() -> None:
    """Each has its slots while it is active; they may take turns or be active together."""
    copier = SimulatedCopier(ARRIVALS["random"]())
    high, low = Stack(WIDTHS), Stack(WIDTHS[::-1])
    want_high, want_low = high(X), low(X)
    of_high = BlockSwap(high, high.names(*range(6)), 1, copier)
    of_low = BlockSwap(low, low.names(*range(6)), 1, copier)
    for swap, model, want in ((of_high, high, want_high), (of_low, low, want_low)):
        with swap.active():
            assert torch.equal(model(X), want)
    assert copier.peak == 2 * of_high.slot_bytes
    with of_high.active(), of_low.active():
        for one, other in zip(high.layers, low.layers, strict=True):
            assert torch.equal(one(X), X + one.weight.sum() * 2)
            assert torch.equal(other(X), X + other.weight.sum() * 2)
    assert copier.peak == 4 * of_high.slot_bytes
    assert copier.now == 0


@torch.no_grad()
def test_what_is_attached_later_moves_with_its_unit() -> None:
    stack = Stack(WIDTHS)
    swap = BlockSwap(stack, stack.names(0, 1), 0, SimulatedCopier())
    before = swap.slot_bytes
    with swap.active(), pytest.raises(RuntimeError, match="cannot change"):
        swap.settle()
    lora = nn.Linear(300, 1, bias=False)
    stack.layers[1].add_module("lora", lora)
    stack.layers[0].weight.data = torch.full((3,), 5.0)  # another weight in the same parameter
    addresses: list[int] = []
    stack.layers[1].register_forward_hook(lambda *_: addresses.append(lora.weight.data_ptr()))
    with swap.active():
        stack(X)
        assert torch.equal(stack.layers[0](X), X + 30)
        stack(X)
    assert swap.slot_bytes == before + packed_bytes([1200])
    assert lora.weight.data_ptr() not in addresses
    assert len(addresses) == 2


@torch.no_grad()
def test_what_a_pass_writes_is_lost_because_nothing_is_copied_back() -> None:
    stack = Stack(WIDTHS)

    def write(module: nn.Module, *_: object) -> None:
        module.weight.add_(100)

    swap = BlockSwap(stack, stack.names(*range(6)), 0, SimulatedCopier())
    stack.layers[3].register_forward_hook(write)
    want = X + sum(stack.value(i) for i in range(6))
    with swap.active():
        assert torch.equal(stack(X), want)
        assert torch.equal(stack(X), want)


def test_gradients_are_refused_and_inference_mode_is_not() -> None:
    stack = Stack(WIDTHS)
    swap = BlockSwap(stack, stack.names(1), 0, SimulatedCopier())
    with swap.active(), pytest.raises(RuntimeError, match="no_grad"):
        stack(X)
    with torch.inference_mode(), swap.active():
        stack(X)
    assert not stack.layers[1].weight.is_inference()
    assert stack.layers[1].weight.requires_grad


def test_what_cannot_be_swapped_is_refused() -> None:
    stack = Stack(WIDTHS)
    with pytest.raises(ValueError, match=r"no units layers\.6, nothing"):
        BlockSwap(stack, ["layers.6", "layers.1", "nothing"], 0, SimulatedCopier())
    with pytest.raises(ValueError, match="-1 prefetched"):
        BlockSwap(stack, ["layers.1"], -1, SimulatedCopier())
    stack.layers[4].weight = stack.layers[1].weight
    with pytest.raises(ValueError, match=r"layers\.1 and layers\.4 share weight"):
        BlockSwap(stack, ["layers.4"], 0, SimulatedCopier())
    stack.layers[4].weight = stack.last
    with pytest.raises(ValueError, match=r"the rest and layers\.4 share weight"):
        BlockSwap(stack, ["layers.4"], 0, SimulatedCopier())
    BlockSwap(stack, ["layers.1"], 0, SimulatedCopier())


def test_units_are_pinned_as_long_as_the_share_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pages, "pin", lambda self: True)
    memory = HostMemory(1000)
    pinned = [memory(str(size), [torch.zeros(size)]) for size in (100, 100, 64)]
    assert [source.pinned for source in pinned] == [True, False, True]  # of 512, 512 and 256 bytes
    assert memory.left == 1000 - 512 - 256
    del pinned
    gc.collect()
    assert memory.left == 1000
    monkeypatch.setattr(Pages, "pin", lambda self: False)  # no CUDA, or the system allows no more
    assert not memory("", [torch.zeros(9)]).pinned
    assert memory.left == 1000


@torch.no_grad()
def test_memory_of_units_that_were_moved_is_given_back() -> None:
    stack = Stack((100, 100))
    storages = [layer.weight.untyped_storage() for layer in stack.layers]
    alive = [weakref.ref(storage) for storage in storages]
    del storages
    BlockSwap(stack, ["layers.1"], 0, SimulatedCopier())
    gc.collect()
    assert [one() is not None for one in alive] == [True, False]


def test_what_is_not_swapped_moves_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack((5, 5, 5))
    parameters = list(stack.parameters())
    swap = BlockSwap(stack, stack.names(1), 0, SimulatedCopier())
    monkeypatch.setattr(Tensor, "to", lambda tensor, device: tensor + 100)
    swap.place_rest()
    assert [layer.weight.detach()[0].item() for layer in stack.layers] == [101, 2, 103]
    assert [layer.scale.item() for layer in stack.layers] == [102, 2, 102]
    assert stack.last.detach().item() == 100
    assert all(a is b for a, b in zip(stack.parameters(), parameters, strict=True))


def test_a_units_own_hooks_run_while_it_is_there() -> None:
    stack = Stack((5, 5))
    found: list[Tensor] = []
    stack.layers[1].register_forward_pre_hook(lambda m, _: found.append(m.weight.clone()))
    swap = BlockSwap(stack, ["layers.1"], 0, SimulatedCopier())
    home = stack.layers[1].weight.data_ptr()
    stack.layers[1].register_forward_hook(lambda m, *_: found.append(m.weight.data_ptr()))
    with torch.no_grad(), swap.active():
        stack(X)
    assert torch.equal(found[0], torch.full((5,), 2.0))
    assert found[1] != home
