"""Closed forms of block swap, and tensors in buffers."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from wan_core.memory import Packing, packed_bytes, slot_count, spread, swap_bytes, tensors_of
from wan_core.memory.sizes import ALIGNMENT


@pytest.mark.parametrize(
    ("swapped", "prefetch", "want"),
    [
        ((), 1, 100 + 300 + 200 + 50),
        ((1,), 0, 350 + 300),
        ((1,), 5, 350 + 300),  # one unit needs one slot
        ((0, 3), 0, 500 + 100),
        ((0, 3), 1, 500 + 2 * 100),
        ((0, 1, 2, 3), 0, 300),
        ((0, 1, 2, 3), 2, 3 * 300),
        ((0, 1, 2, 3), 9, 4 * 300),
    ],
)
def test_bytes_on_the_device(swapped: tuple[int, ...], prefetch: int, want: int) -> None:
    assert swap_bytes((100, 300, 200, 50), swapped, prefetch) == want


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be swapped"):
        swap_bytes((1, 2), (2,), 0)
    with pytest.raises(ValueError, match="-1 prefetched"):
        slot_count(3, -1)
    with pytest.raises(ValueError, match="of 3 units 4"):
        spread(3, 4)


def test_swapped_units_lie_apart() -> None:
    assert spread(4, 0) == ()
    assert spread(4, 4) == (0, 1, 2, 3)
    assert spread(40, 39) == tuple(range(1, 40))
    assert spread(40, 20) == tuple(range(1, 40, 2))
    for units in range(1, 20):
        for swapped in range(1, units):
            chosen = spread(units, swapped)
            gaps = [(b - a) % units for a, b in zip(chosen, chosen[1:] + chosen[:1], strict=True)]
            assert len(chosen) == swapped
            assert max(gaps) - min(gaps) <= 1 or swapped == 1


def test_tensors_keep_values_shapes_strides_and_places() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(3, 5, generator=generator),
        torch.randn(4, 6, generator=generator).bfloat16().T,
        torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        torch.randn(8, 8, generator=generator).to(torch.float8_e4m3fn),
        torch.tensor(7, dtype=torch.int64),
        torch.tensor([True, False, True]),
        torch.zeros(0, 4),
        torch.randn(6, generator=generator)[::2],  # has holes, which are not kept
    ]
    packing = Packing.of(tensors)
    assert packing.bytes == packed_bytes(t.numel() * t.element_size() for t in tensors)
    assert packing.bytes == 8 * ALIGNMENT  # the 480 bytes of the third take two, no bytes none
    views = packing.views(torch.zeros(packing.bytes, dtype=torch.uint8))
    for view, tensor in zip(views, tensors, strict=True):
        view.copy_(tensor)
    for view, tensor, place in zip(views, tensors, packing.places, strict=True):
        assert view.dtype == tensor.dtype
        assert view.shape == tensor.shape
        assert torch.equal(view.double(), tensor.double())
        assert place.offset % ALIGNMENT == 0
    assert [v.stride() for v in views[:-1]] == [t.stride() for t in tensors[:-1]]
    assert views[-1].stride() == (1,)


def test_a_unit_is_all_that_hangs_on_it_once() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    module.add_module("again", module[0])
    assert list(tensors_of(module)) == [
        *("0.weight", "0.bias", "1.weight", "1.bias"),
        *("1.running_mean", "1.running_var", "1.num_batches_tracked"),
    ]


def test_what_has_no_memory_of_its_own_is_refused() -> None:
    with pytest.raises(ValueError, match="weight has no memory"):
        tensors_of(nn.Linear(2, 2, device="meta"))
    with torch.inference_mode():
        made = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="weight was made in inference mode"):
        tensors_of(made)


def test_planning_with_sizes_needs_no_torch() -> None:
    code = "import sys; from wan_core.memory import swap_bytes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
