"""50 runs in one process take no more of a GPU after the last than after the first ones.

Skipped where there is no CUDA device; ``-s`` shows the figures.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from repeated_runs import after_each, live_bytes, write_loras

from wan_core import Session

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

PAIRS = int(os.environ.get("WAN_CORE_RUNS") or 25)
WARM = 3
"""Pairs after which cuBLAS and the allocator have what they keep."""


def test_runs_leave_nothing_on_the_device(tmp_path: Path) -> None:
    write_loras(tmp_path)
    allocated: list[int] = []
    reserved: list[int] = []

    def measure() -> int:
        torch.cuda.synchronize()
        allocated.append(torch.cuda.memory_allocated())
        reserved.append(torch.cuda.memory_reserved())
        return live_bytes()

    with Session(device="cuda", cache=tmp_path / "cache") as session:
        live = list(after_each(session, tmp_path, PAIRS, measure))
    for name, found in (("allocated", allocated), ("reserved", reserved)):
        print(f"{2 * PAIRS} runs: {name}", *(f"{one / 1e6:.2f}" for one in found), "MB")
        assert max(found[WARM:]) <= 1.01 * found[WARM]
    assert live[WARM:] == [live[WARM]] * (PAIRS - WARM)
