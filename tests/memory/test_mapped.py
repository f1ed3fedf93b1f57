"""Units in mapped files: what arrives is what lies there, through staging buffers that are bounded."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from swap_models import ARRIVALS, Stack, drawn
from torch import Tensor, nn

from wan_core.memory import (
    BlockSwap,
    HostRoom,
    HostSource,
    Keeper,
    MappedSource,
    SimulatedCopier,
    Staging,
    spooled,
)
from wan_core.memory.mapped import are_mapped

WIDTHS = (3, 200, 64, 65, 1, 90)
X = torch.zeros(2)


def mapped(stack: Stack, folder: Path) -> None:
    """Point the weights of a stack at a mapped file, as loading does."""
    save_file(
        {n: t.detach() for n, t in stack.state_dict().items()}, folder / "weights.safetensors"
    )
    opened = safe_open(folder / "weights.safetensors", "pt").__enter__()
    for name, parameter in stack.named_parameters():
        parameter.data = opened.get_tensor(name)


@given(
    swapped=st.sets(st.integers(0, 5), min_size=1),
    calls=st.lists(st.integers(0, 5), max_size=30),
    prefetch=st.integers(0, 6),
    room=st.integers(0, 4000),
    buffers=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None)
@torch.no_grad()
def test_any_order_of_calls_with_some_units_in_files(
    swapped: set[int], calls: list[int], prefetch: int, room: int, buffers: int, seed: int
) -> None:
    stack = Stack(WIDTHS)
    copier = SimulatedCopier(drawn(random.Random(seed)))
    host = HostRoom(room, buffers=buffers)
    swap = BlockSwap(stack, stack.names(*swapped), prefetch, copier, provider=host)
    sources = [unit.source for unit in swap._units]
    kept = sum(s.packing.bytes for s in sources if isinstance(s, HostSource))
    assert kept + (host.left or 0) == room
    with swap.active():
        for index in calls:
            assert torch.equal(stack.layers[index](X), X + stack.value(index))
    largest = max((s.packing.bytes for s in sources if isinstance(s, MappedSource)), default=0)
    assert host.staging.bytes <= buffers * largest


@pytest.mark.parametrize("arrivals", ARRIVALS)
@torch.no_grad()
def test_weights_in_a_mapped_file_stay_where_they_are(tmp_path: Path, arrivals: str) -> None:
    stack = Stack(WIDTHS)
    for layer in stack.layers:  # buffers are no part of the file
        del layer.scale
        layer.scale = 2.0
    mapped(stack, tmp_path)
    want = stack(X)
    places = [layer.weight.data_ptr() for layer in stack.layers]
    assert all(are_mapped([layer.weight]) for layer in stack.layers)
    host = HostRoom(0, folder=tmp_path / "nowhere")
    copier = SimulatedCopier(ARRIVALS[arrivals]())
    swap = BlockSwap(stack, stack.names(*range(6)), 2, copier, provider=host)
    assert [layer.weight.data_ptr() for layer in stack.layers] == places
    with swap.active():
        for _ in range(3):
            assert torch.equal(stack(X), want)
    assert [layer.weight.data_ptr() for layer in stack.layers] == places
    assert not (tmp_path / "nowhere").exists()


def test_what_was_made_goes_to_a_file_without_a_name(tmp_path: Path) -> None:
    tensors = [
        torch.arange(6.0).reshape(2, 3).t(),
        torch.tensor(3, dtype=torch.int8),
        torch.ones(0),
    ]
    assert not are_mapped(tensors[:2])
    places = spooled(tensors, tmp_path / "cache")
    assert are_mapped(places)
    assert list((tmp_path / "cache").iterdir()) == []
    for place, tensor in zip(places, tensors, strict=True):
        assert torch.equal(place, tensor)
        assert (place.dtype, place.stride()) == (tensor.dtype, tensor.stride())


def test_what_lies_on_a_device_is_in_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a driver maps at its addresses."""
    monkeypatch.setattr("wan_core.memory.mapped._file_spans", lambda: [(0, 2**64)])
    assert are_mapped([torch.ones(3)])
    assert not are_mapped([torch.ones(3), torch.empty(3, device="meta")])


def test_room_is_given_back() -> None:
    host = HostRoom(1000)
    first = host("first", [torch.zeros(100)])
    assert host.left == 1000 - 512
    assert isinstance(host("second", [torch.zeros(200)]), MappedSource)
    assert isinstance(host.bounded(1024)("third", [torch.zeros(200)]), HostSource)
    del first
    gc.collect()
    assert host.left == 1000


def test_what_stays_takes_of_the_room_until_it_is_swapped(tmp_path: Path) -> None:
    host = HostRoom(2048, folder=tmp_path)
    first, second = [torch.ones(100)], [torch.ones(300)]
    assert host.stay("first", first) is first
    assert host.left == 2048 - 512
    assert host.stay("first", first) is first
    assert host.left == 2048 - 512  # it counts once
    (place,) = host.stay("second", [torch.ones(400)])
    assert are_mapped([place])
    assert torch.equal(place, torch.ones(400))
    assert host.stay("third", [place]) == [place]  # in a file, where it takes nothing
    assert host.left == 2048 - 512
    assert host.stay("fourth", second) is second
    assert host.left == 256
    # swapped from now on: its copy takes the room that it had
    source = host("first", first)
    assert isinstance(source, HostSource)
    assert host.left == 256
    assert HostRoom().stay("any", first) is first


def test_units_that_are_kept_while_they_are_loaded_are_not_copied_again() -> None:
    stack = Stack(WIDTHS)
    keeper = Keeper(["layers.1", "layers.2"], torch.device("cpu"), HostRoom())
    keeper.keep("layers.1", stack.layers[1])
    keeper.keep("layers.2", stack.layers[2])
    places = [layer.weight.data_ptr() for layer in stack.layers]
    stack.layers[2].weight.data = torch.full((64,), 7.0)  # something else since
    swap = BlockSwap(stack, stack.names(1, 2, 3), 1, SimulatedCopier(), provider=keeper)
    now = [layer.weight.data_ptr() for layer in stack.layers]
    assert [a == b for a, b in zip(places, now, strict=True)] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert keeper.without(["layers.1"]).names == ("layers.2",)
    with torch.no_grad(), swap.active():
        assert torch.equal(stack.layers[1](X), X + stack.value(1))
        assert torch.equal(stack.layers[2](X), X + 2 * 7 * 64)


def test_a_copy_is_over_before_its_staging_buffer_is_filled_anew() -> None:
    copier = SimulatedCopier()  # nothing arrives before it is waited for
    staging = Staging(1)
    slots: list[Tensor] = [copier.allocate(256) for _ in range(3)]
    for number, slot in enumerate(slots):
        source = MappedSource(
            str(number), [nn.Parameter(torch.full((64,), float(number)))], staging
        )
        source.send(lambda host, slot=slot: copier.fill(slot, host, copier.mark()))
    copier.finish()
    assert [slot.view(torch.float32)[0].item() for slot in slots] == [0, 1, 2]
