"""Memory that really runs out, under a cap of the allocator: runs go on, with the same bits where they say so.

Skipped where there is no CUDA device; ``-s`` shows what was done.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from test_swapped_runs_on_a_gpu import PLUGINS, folder, frames, planned

from wan_core import Session
from wan_core.contract.errors import ResourceError
from wan_core.engine.results import RunResult

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

__all__ = ["folder"]  # a fixture

FRAMES = "frames = 49"
"""Enough tokens for their activations to be as large as some blocks."""


@contextmanager
def capped(most: int) -> Iterator[None]:
    """The allocator may hold so many bytes in all."""
    gc.collect()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(most / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=PLUGINS, device="cuda", cache=tmp_path) as session:
        yield session


def run(session: Session, folder: Path) -> tuple[RunResult, np.ndarray, int]:
    """A run without placements, its frames, and the most that the allocator has held."""
    torch.cuda.reset_peak_memory_stats()
    result = session.run(planned(folder, None, more=FRAMES))
    return result, frames(result), torch.cuda.max_memory_reserved()


@pytest.mark.parametrize("share", [0.85, 0.6, 0.4])
def test_a_run_goes_on_under_a_cap(session: Session, folder: Path, share: float) -> None:
    _, want, reserved = run(session, folder)
    session.close()
    with capped(int(reserved * share)):
        result, got, held = run(session, folder)
    print(f"\n{reserved / 1e6:.0f} MB without a cap, {held / 1e6:.0f} MB under {share:.0%} of it")
    for one in result.recoveries:
        print(f"  {one}")
    assert held <= reserved * share
    assert result.recoveries
    if all(one.exact for one in result.recoveries):
        assert np.array_equal(got, want)
    else:
        assert np.abs(got.astype(int) - want.astype(int)).mean() < 1
    # nothing is learned, nothing is left
    session.close()
    gc.collect()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() < 50_000_000
    again, bits, _ = run(session, folder)
    assert not again.recoveries
    assert np.array_equal(bits, want)


def test_a_cap_that_nothing_helps_against(session: Session, folder: Path) -> None:
    with capped(60_000_000), pytest.raises(ResourceError) as caught:
        run(session, folder)
    assert "ran out of memory" in str(caught.value)
    assert "tried before that" in str(caught.value)


def test_many_shortages_lose_no_memory(session: Session, folder: Path) -> None:
    """20 at least, in runs whose cap makes them swap."""
    _, _, reserved = run(session, folder)
    after, shortages = [], 0
    with capped(int(reserved * 0.6)):
        while shortages < 20:
            session.close()
            result, *_ = run(session, folder)
            session.close()
            gc.collect()
            assert result.recoveries
            shortages += len(result.recoveries)
            after.append(torch.cuda.memory_allocated())
    assert max(after[1:]) <= after[0] * 1.01 + 1
