"""Runs in one process leave nothing behind: not one byte of tensors, and no more than 1 % of the process.

``WAN_CORE_RUNS`` says how many pairs of runs there are; ``make soak`` does 25.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import pytest
from repeated_runs import WORKFLOWS, after_each, live_bytes, planned, write_loras

from wan_core import Session

PAIRS = int(os.environ.get("WAN_CORE_RUNS") or 3)


def resident() -> int:
    """Bytes of memory that the process holds, by Linux, without what its allocator keeps for later.

    That is 30 MB more or less from run to run, many times what is looked for.
    """
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux and glibc")
def test_runs_leave_nothing_behind(tmp_path: Path) -> None:
    write_loras(tmp_path)
    process: list[int] = []

    def measure() -> int:
        process.append(resident())
        return live_bytes()

    with Session(device="cpu", cache=tmp_path / "cache") as session:
        first, *others = after_each(session, tmp_path, PAIRS, measure)
        held = session._host.residency.bytes, session._residencies["cpu"].bytes
        assert all(held)
    assert others == [first] * (PAIRS - 1)
    print(
        f"{PAIRS} pairs of runs: the process took", *(f"{one / 1e6:.1f}" for one in process), "MB"
    )
    assert max(process) <= 1.01 * process[0]


def test_a_session_that_is_closed_leaves_nothing_behind(tmp_path: Path) -> None:
    write_loras(tmp_path)
    left = []
    for _ in range(3):
        with Session(device="cpu", cache=tmp_path / "cache") as session:
            for text in WORKFLOWS:
                session.run(planned(session, tmp_path, text))
            there = live_bytes()
        left.append(live_bytes())
        assert there > left[-1] + 10e6
    assert left[1:] == left[:1] * 2
