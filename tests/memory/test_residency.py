"""Residency: loaded once, kept while there is room, the least recently used leaves first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wan_core.contract.errors import ResourceError
from wan_core.memory import Residency, gigabytes


def loader(loaded: list[str], name: str) -> Callable[[], str]:
    def load() -> str:
        loaded.append(name)
        return name

    return load


def test_a_component_is_loaded_once() -> None:
    loaded: list[str] = []
    residency = Residency()
    for _ in range(3):
        assert residency.acquire("a", "a", 10, loader(loaded, "a")) == "a"
    assert loaded == ["a"]
    assert residency.bytes == 10


def test_what_nobody_uses_may_leave_at_once() -> None:
    left: list[int] = []
    residency = Residency(on_leave=lambda: left.append(1))
    for name in "abc":
        residency.acquire(name, f"the {name}", 10, loader([], name))
    residency.acquire("b", "the b", 10, loader([], "b"))
    for name in "ab":
        residency.release(name)
    assert [residency.users(name) for name in "abcd"] == [0, 1, 1, 0]
    assert residency.drop_idle() == ["the a"]
    assert residency.bytes == 20
    assert left == [1]
    assert residency.drop_idle() == []


def test_the_least_recently_used_idle_component_leaves() -> None:
    loaded: list[str] = []
    left: list[int] = []
    residency = Residency(25, on_leave=lambda: left.append(1))
    for name in "ab":
        residency.acquire(name, name, 10, loader(loaded, name))
        residency.release(name)
    residency.acquire("a", "a", 10, loader(loaded, "a"))
    residency.release("a")
    residency.acquire("c", "c", 10, loader(loaded, "c"))
    assert "a" in residency
    assert "b" not in residency
    assert loaded == ["a", "b", "c"]
    assert left == [1]


def test_what_is_in_use_never_leaves() -> None:
    residency = Residency(15)
    residency.acquire("a", "the transformer", 10, lambda: 1)
    with pytest.raises(ResourceError, match=r"the VAE needs .* of which in use: the transformer"):
        residency.acquire("b", "the VAE", 10, lambda: 2)
    assert "a" in residency
    residency.release("a")
    assert residency.acquire("b", "the VAE", 10, lambda: 2) == 2
    assert "a" not in residency


def test_what_can_never_fit_is_refused_without_loading() -> None:
    loaded: list[str] = []
    with pytest.raises(ResourceError, match="the budget is"):
        Residency(5).acquire("a", "a", 10, loader(loaded, "a"))
    assert not loaded


def test_a_component_that_does_not_load_leaves_no_trace() -> None:
    residency = Residency()

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        residency.acquire("a", "a", 10, fail)
    assert "a" not in residency
    assert residency.bytes == 0


def test_sizes_for_people() -> None:
    assert gigabytes(11_361_820_672) == "11.4 GB"
    assert gigabytes(7_929_096) == "8 MB"
    assert gigabytes(10) == "1 MB"


def test_a_lowered_budget_and_the_room_to_work_make_idle_ones_leave() -> None:
    residency = Residency()
    for name in "abc":
        residency.acquire(name, name, 30, lambda: 1)
        residency.release(name)
    residency.budget = 70
    residency.acquire("c", "c", 30, lambda: 1, headroom=10)
    assert "c" in residency
    assert residency.bytes + 10 <= 70
    with pytest.raises(ResourceError, match=r"c needs .* to work in"):
        residency.acquire("c", "c", 30, lambda: 1, headroom=50)


def test_a_budget_that_has_become_smaller() -> None:
    residency = Residency()
    for name in "abc":
        residency.acquire(name, name, 10, lambda: 1)
    residency.release("a")
    assert residency.release("c") == 0
    assert residency.bytes_in_use == 10
    residency.trim()
    assert residency.bytes == 30
    residency.budget = 20
    residency.trim()
    assert ["a" in residency, "b" in residency, "c" in residency] == [False, True, True]
    residency.resize("b", 15)
    residency.budget = 5
    residency.trim()
    assert residency.bytes == 15
    residency.drop("b")
    residency.drop("b")
    assert residency.bytes == 0
    assert residency.release("b") == 0


def test_components_within_another_residency_share_its_budget() -> None:
    memory = Residency(30)
    swapped = Residency(20, within=memory)
    memory.acquire("encoder", "the encoder", 10, loader([], "encoder"))
    assert (swapped.room(), swapped.room(5), memory.room()) == (20, 15, 20)
    swapped.acquire("a", "a", 20, loader([], "a"))
    assert (memory.held, memory.bytes, swapped.bytes) == (30, 10, 20)
    assert (swapped.room(), memory.room()) == (0, 0)
    with pytest.raises(ResourceError, match=r"the budget is 1 MB.*the encoder 1 MB, a 1 MB"):
        memory.acquire("more", "more", 1, loader([], "more"))
    # what is idle leaves, wherever it is
    memory.release("encoder")
    with pytest.raises(ResourceError):
        swapped.acquire("b", "b", 1, loader([], "b"))
    assert "encoder" in memory, "its own bound is the one that it does not fit"
    swapped.release("a")
    memory.acquire("encoder", "the encoder", 10, loader([], "encoder"))
    memory.acquire("more", "more", 5, loader([], "more"))
    assert "a" not in swapped
    memory.release("encoder")
    swapped.acquire("c", "c", 20, loader([], "c"))
    assert "encoder" not in memory
    assert (memory.held, memory.room(), swapped.room()) == (25, 5, 0)


def test_a_smaller_budget_of_all_lets_idle_ones_within_go() -> None:
    memory = Residency(30)
    swapped = Residency(20, within=memory)
    for name in "ab":
        swapped.acquire(name, name, 10, loader([], name))
    swapped.release("a")
    memory.budget = 15
    swapped.trim()
    assert (swapped.bytes, "b" in swapped) == (10, True)
