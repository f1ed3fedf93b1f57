"""Block swap on a GPU: the bits of a resident model, the memory that was promised, the transfer that is hidden.

Skipped where there is no CUDA device; ``pytest tests/gpu/test_swap.py -s`` shows the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest
import torch
from torch import Tensor, nn

from wan_core.memory import (
    BlockSwap,
    CudaCopier,
    HostMemory,
    Unit,
    packed_bytes,
    rest_of,
    spread,
    swap_bytes,
    tensors_of,
)
from wan_core.models.wan import WanConfig, WanTransformer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def transformer() -> WanTransformer:
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = WanTransformer(WanConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=10))
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.02)
        if not any(fnmatchcase(name, pattern) for pattern in WanTransformer.KEEP_FLOAT32):
            parameter.data = parameter.data.bfloat16()
    return model.eval()


def inputs(frames: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    latents = torch.randn(1, 16, frames, 30, 52, device="cuda")
    text = torch.randn(1, 512, 4096, device="cuda").bfloat16()
    return latents, torch.tensor([723.0], device="cuda"), text


def seconds(run: Callable[[], object]) -> float:
    run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / 3


def peak(run: Callable[[], object]) -> int:
    """Bytes that ``run`` takes beside what there is."""
    torch.cuda.reset_peak_memory_stats()
    before = requested()
    run()
    return requested("peak") - before


def requested(when: str = "current") -> int:
    """Bytes of all tensors on the device, without what the allocator adds to them."""
    torch.cuda.synchronize()
    count: int = torch.cuda.memory_stats()[f"requested_bytes.all.{when}"]
    return count


@torch.no_grad()
def test_bits_and_memory(transformer: WanTransformer) -> None:
    arguments = inputs()
    want = transformer(*arguments)
    working = peak(lambda: transformer(*arguments))
    units = transformer.units()
    tensors = [tensors_of(unit.module) for unit in units]
    sizes = [packed_bytes(t.nbytes for t in of_unit.values()) for of_unit in tensors]
    rounding = sum(sizes) - sum(t.nbytes for of_unit in tensors for t in of_unit.values())
    beside = requested() - sum(sizes)
    for swapped in (1, 5, 9, 10):
        indices = spread(10, swapped)
        for prefetch in (0, 1, 2, 3):
            names = [units[i].name for i in indices]
            swap = BlockSwap(transformer, names, prefetch, CudaCopier())
            with swap.active():
                weights = requested() - beside
                assert abs(weights - swap_bytes(sizes, indices, prefetch)) <= rounding
                assert torch.equal(transformer(*arguments), want)
                assert peak(lambda: transformer(*arguments)) <= working
                assert torch.equal(transformer(*arguments), want)
            transformer.cuda()
            assert requested() - beside == pytest.approx(sum(sizes), abs=rounding)
    assert torch.equal(transformer(*arguments), want)


@torch.no_grad()
def test_from_host_memory(transformer: WanTransformer) -> None:
    """A model that was loaded on the CPU: what is not swapped moves to the device, and no more."""
    arguments = inputs()
    want = transformer(*arguments)
    transformer.cpu()
    swap = BlockSwap(transformer, [f"blocks.{i}" for i in range(1, 10)], 1, CudaCopier())
    before = requested()
    swap.place_rest()
    stays = [*tensors_of(transformer.blocks[0]).values(), *transformer.rest().values()]
    assert requested() - before == sum(tensor.nbytes for tensor in stays)
    with swap.active():
        assert torch.equal(transformer(*arguments), want)


@torch.no_grad()
def test_share_of_the_transfer_that_is_hidden(transformer: WanTransformer) -> None:
    arguments = inputs(21)
    resident = seconds(lambda: transformer(*arguments))
    names = [f"blocks.{i}" for i in range(1, 10)]
    swap = BlockSwap(transformer, names, 0, CudaCopier())
    for prefetch in (0, 1, 2):
        swap.prefetch = prefetch
        with swap.active():
            swapped = seconds(lambda: transformer(*arguments))
        if prefetch == 0:
            copying = swapped - resident
        hidden = 1 - (swapped - resident) / copying
        print(f"\nprefetch {prefetch}: {swapped / resident:.3f} of resident, {hidden:.0%} hidden")


class Slow(nn.Module):
    """Waits before it reads its weight, so that one who overwrites it too early is caught."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1 << 20,), value))

    def forward(self, x: Tensor) -> Tensor:
        torch.cuda._sleep(3_000_000)
        return torch.cat([x, self.weight[::4096].clone()])


class Slows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Slow(float(i)) for i in range(12))

    def units(self) -> list[Unit]:
        return [Unit(f"layers.{i}", layer) for i, layer in enumerate(self.layers)]

    def rest(self) -> dict[str, Tensor]:
        return rest_of(self, self.units())


@pytest.mark.parametrize("share", [None, 0], ids=["pinned", "pageable"])
@pytest.mark.parametrize("prefetch", [0, 1, 3, 20])
@torch.no_grad()
def test_every_use_sees_its_own_weights(prefetch: int, share: int | None) -> None:
    model = Slows()
    names = [unit.name for unit in model.units()]
    swap = BlockSwap(model, names, prefetch, CudaCopier(), provider=HostMemory(share))
    orders = [range(12), range(12), range(0, 12, 2), range(11, -1, -1), [3, 3, 4, 3, 11, 0]]
    with swap.active():
        x = torch.empty(0, device="cuda")
        for order in orders:
            for index in order:
                x = model.layers[index](x)
    want = [float(index) for order in orders for index in order]
    assert torch.equal(x.view(-1, 256).cpu(), torch.tensor(want)[:, None].expand(-1, 256))


def test_host_memory_is_pinned_within_its_share() -> None:
    tensors = [torch.randn(1 << 20)]
    memory = HostMemory(5 << 20)
    first, second = memory("first", tensors), memory("second", tensors)
    assert (first.pinned, second.pinned) == (True, False)
    assert (first.home()[0].is_pinned(), second.home()[0].is_pinned()) == (True, False)
    assert torch.equal(first.home()[0], tensors[0])
    del first
    third = memory("third", tensors)
    assert third.pinned
    assert torch.equal(third.home()[0].cuda(non_blocking=True).cpu(), tensors[0])


@torch.no_grad()
def test_compiled_blocks(transformer: WanTransformer) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    arguments = inputs()
    for block in transformer.blocks:
        block.compile(fullgraph=True)
    want = transformer(*arguments)
    swap = BlockSwap(transformer, [f"blocks.{i}" for i in range(1, 10)], 1, CudaCopier())
    with swap.active():
        assert torch.equal(transformer(*arguments), want)
        assert torch.equal(transformer(*arguments), want)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()
