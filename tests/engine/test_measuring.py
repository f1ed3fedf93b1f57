"""Measuring a machine: bounded in time and memory, and right about what it times."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from wan_core.engine import measuring
from wan_core.engine.measuring import CASES, Clock, curve, disk_rates, encoding_rates
from wan_core.planning.calibration import MOST_POINTS

CPU = Clock(torch.device("cpu"))


def cases(*sizes: float, needed: float = 0) -> list[measuring.Case]:
    """Calls that say how often they were made, of ``sizes`` units each."""

    def case(size: float) -> measuring.Case:
        return size, size, needed, lambda: lambda: made.append(size)

    return [case(size) for size in sizes]


made: list[float] = []


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every call take a tenth of a second for each unit."""

    def once(clock: Clock, work: measuring.Work) -> float:
        before = len(made)
        work()
        return sum(made[before:]) / 10

    monkeypatch.setattr(Clock, "once", once)
    made.clear()


def test_a_curve_is_units_per_second_at_each_size(seconds: None) -> None:
    points = curve(CPU, cases(1, 2, 4), 3.0, 10**9)
    assert points == ((1, pytest.approx(10)), (2, pytest.approx(10)), (4, pytest.approx(10)))
    # two calls to look, then five rows that fill a second
    assert made.count(1) == 2 + 5 * 2


def test_sizes_that_would_take_too_long_or_too_much_memory_are_left_out(seconds: None) -> None:
    assert [size for size, _ in curve(CPU, cases(1, 2, 1000), 3.0, 10**9)] == [1, 2]
    assert 1000 not in made
    # the first says at least how slow it is
    assert [size for size, _ in curve(CPU, cases(1000, 2000), 0.1, 10**9)] == [1000]
    assert made.count(1000) == 2
    large = [*cases(1), *cases(2, needed=100)]
    assert [size for size, _ in curve(CPU, large, 3.0, 99)] == [1]


def test_what_a_device_can_not_do_ends_a_curve() -> None:
    def broken() -> measuring.Work:
        raise RuntimeError("not implemented")

    bad: measuring.Case = (2.0, 2.0, 0.0, broken)
    assert [size for size, _ in curve(CPU, [*cases(1), bad], 0.01, 10**9)] == [1]
    with pytest.raises(RuntimeError):
        curve(CPU, [bad], 0.01, 10**9)


@pytest.mark.parametrize("what", CASES)
def test_the_cases_compute_what_they_say(what: str) -> None:
    """The smallest of each sort, counted by torch's own counter."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    sizes = list(CASES[what](torch.device("cpu"), torch.float32))
    assert [one[0] for one in sizes] == sorted({one[0] for one in sizes})
    assert len(sizes) < MOST_POINTS
    _, units, needed, make = sizes[0]
    work = make()
    # the counter knows the products of the plain attention only
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    assert units == counter.get_total_flops()
    assert needed > 0


def test_imports_are_timed_once_and_never_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))
    assert measuring.import_seconds() == {}
    monkeypatch.delitem(sys.modules, "transformers")
    whole = SimpleNamespace(UMT5EncoderModel=object)
    monkeypatch.setattr(measuring, "import_module", lambda name: whole)
    assert 0 < measuring.import_seconds()["transformers"] < 1
    monkeypatch.setattr(measuring, "import_module", lambda name: object())
    assert measuring.import_seconds() == {}


def test_disk_is_timed_and_left_clean(tmp_path: Path) -> None:
    cold, warm = disk_rates(tmp_path / "new", 0.05)
    assert cold is not None and warm is not None
    assert 1e6 < cold < 1e12 and 1e6 < warm < 1e12
    assert list((tmp_path / "new").iterdir()) == []


def test_a_disk_that_can_not_be_written_to_has_no_rate(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert disk_rates(tmp_path / "file", 0.05) == (None, None)


def test_encoding_is_timed_at_two_sizes() -> None:
    points = encoding_rates(0.1)
    assert points is not None
    assert [size for size, _ in points] == [96 * 96, 832 * 480]
    assert all(1e4 < rate < 1e10 for _, rate in points)


def test_without_an_encoder_there_is_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_video(*_: object) -> int:
        raise ImportError("no av")

    monkeypatch.setattr("wan_core.media.write_video", write_video, raising=False)
    assert encoding_rates(0.1) is None


def test_a_clock_waits_for_the_call() -> None:
    assert CPU.once(lambda: time.sleep(0.01)) >= 0.01
