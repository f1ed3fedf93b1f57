"""Placements: within the budget, with as few swapped units as can be, and as the knobs say."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wan_core.contract.placement import Placement
from wan_core.planning.placing import (
    Demand,
    Effort,
    Knobs,
    Placed,
    choose,
    device_bytes,
    host_bytes,
    traffic,
)
from wan_core.planning.unit_sizes import UnitSizes

GB = 10**9


def sizes_of(units: list[int], rest: int = 0, **parts: int) -> UnitSizes:
    named = {f"blocks.{index}": size for index, size in enumerate(units)}
    on_host = frozenset({"shared"} & set(parts))
    return UnitSizes(named, parts, on_host, rest, sum(units) + rest + sum(parts.values()))


def swapped(placed: Placed, sizes: UnitSizes) -> int:
    return sum(name in sizes.units for name in placed.placement.swapped)


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    count = st.integers(1, 10**6)
    units = draw(st.lists(count, min_size=1, max_size=12))
    names = draw(st.sets(st.sampled_from(["text_embedding", "img_emb", "shared"])))
    sizes = sizes_of(units, draw(count), **{name: draw(count) for name in names})
    activations = sorted({draw(count) for _ in range(draw(st.integers(1, 3)))}, reverse=True)
    rows = [None, 4096, 1024]
    efforts = tuple(Effort(one, row) for one, row in zip(activations, rows, strict=False))
    overhead = draw(count)
    return Demand(sizes, efforts, lambda weights, acts: weights + acts + acts // 25 + overhead)


def real_peak(demand: Demand, placement: Placement) -> int:
    """Counted anew: what stays on the device, and as many slots of the largest that does not."""
    sizes, away = demand.sizes, set(placement.swapped)
    every = {**sizes.parts, **sizes.units}
    moving = [every[name] for name in away - sizes.on_host]
    slots = min(len(moving), placement.prefetch + 1) * max(moving, default=0)
    here = sum(size for name, size in every.items() if name not in away)
    (effort,) = [one for one in demand.efforts if one.rows == placement.rows]
    return demand.reserved(sizes.rest + here + slots, effort.activations)


@given(demands(), st.integers(1, 2 * 10**7))
def test_never_above_the_budget(demand: Demand, budget: int) -> None:
    placed = choose(demand, budget)
    assert placed.peak == real_peak(demand, placed.placement)
    assert placed.fits == (placed.peak <= budget)
    if not placed.fits:  # then nothing does
        for count in range(len(demand.sizes.units) + 1):
            assert choose(demand, budget, Knobs(swapped=count)).peak > budget


@given(demands(), st.integers(1, 2 * 10**7))
def test_no_fewer_units_would_do(demand: Demand, budget: int) -> None:
    placed = choose(demand, budget)
    count = swapped(placed, demand.sizes)
    if not placed.fits:
        return
    same = attrs.evolve(
        demand, efforts=tuple(e for e in demand.efforts if e.rows == placed.placement.rows)
    )
    parts = {part: part in placed.placement.swapped for part in demand.sizes.parts}
    for fewer in range(count):
        knobs = Knobs(fewer, placed.placement.prefetch, parts)
        assert not choose(same, budget, knobs).fits


@given(demands(), st.integers(1, 10**7), st.integers(0, 10**7))
def test_more_memory_never_means_more_effort(demand: Demand, budget: int, more: int) -> None:
    small, large = choose(demand, budget), choose(demand, budget + more)
    assert large.fits >= small.fits
    if not small.fits:
        return
    rank = {effort.rows: place for place, effort in enumerate(demand.efforts)}

    def effort(placed: Placed) -> tuple[Any, ...]:
        one, parts = placed.placement, set(placed.placement.swapped) - set(demand.sizes.units)
        visiting = parts - demand.sizes.on_host
        tables = parts & demand.sizes.on_host
        away = swapped(placed, demand.sizes)
        return (-one.prefetch, bool(visiting), rank[one.rows], away, bool(tables))

    assert effort(large) <= effort(small)


@given(
    demands(),
    st.integers(1, 2 * 10**7),
    st.integers(0, 12),
    st.integers(0, 5),
    st.booleans() | st.none(),
)
def test_knobs_are_obeyed(
    demand: Demand, budget: int, count: int, prefetch: int, away: bool | None
) -> None:
    parts = {} if away is None else {"text_embedding": away}
    placed = choose(demand, budget, Knobs(count, prefetch, parts))
    assert swapped(placed, demand.sizes) == min(count, len(demand.sizes.units))
    assert placed.placement.prefetch == prefetch
    if away is not None and "text_embedding" in demand.sizes.parts:
        assert ("text_embedding" in placed.placement.swapped) == away
    assert placed.peak == real_peak(demand, placed.placement)


TEN = Demand(
    sizes_of([GB] * 10, GB, text_embedding=GB // 10),
    (Effort(4 * GB), Effort(2 * GB, 4096)),
)


@pytest.mark.parametrize(
    ("budget", "count", "prefetch", "rows", "parts"),
    [
        (None, 0, 1, None, False),
        (16 * GB, 0, 1, None, False),
        # slots of two blocks: three have to go before there is room for one block's worth
        (15 * GB, 3, 1, None, False),
        (8 * GB, 10, 1, None, False),
        # less at a time comes before embeddings away and before waiting for copies
        (7 * GB, 9, 1, 4096, False),
        (5 * GB, 10, 1, 4096, True),
        (4 * GB, 10, 0, 4096, True),
    ],
)
def test_what_costs_least_comes_first(
    budget: int | None, count: int, prefetch: int, rows: int | None, parts: bool
) -> None:
    placed = choose(TEN, budget)
    assert placed.fits
    assert swapped(placed, TEN.sizes) == count
    assert (placed.placement.prefetch, placed.placement.rows) == (prefetch, rows)
    assert ("text_embedding" in placed.placement.swapped) == parts


def test_what_is_swapped_is_spread_over_the_model() -> None:
    placed = choose(TEN, 13 * GB)
    assert placed.placement.swapped == ("blocks.1", "blocks.3", "blocks.5", "blocks.7", "blocks.9")


def test_where_nothing_fits_the_smallest_is_said() -> None:
    placed = choose(TEN, GB)
    assert not placed.fits
    assert placed.peak == 4 * GB  # one slot, the rest, the lesser activations
    assert placed.placement.prefetch == 0


@pytest.mark.parametrize(
    ("hides", "budget", "prefetch"),
    [(False, 9 * GB, 2), (False, 8 * GB, 1), (True, 9 * GB, 1), (None, 9 * GB, 1)],
)
def test_a_second_unit_is_sent_ahead_where_copies_would_be_waited_for(
    hides: bool | None, budget: int, prefetch: int
) -> None:
    demand = Demand(sizes_of([GB] * 10), (Effort(GB),), hides=lambda count: hides)
    placed = choose(demand, budget, Knobs(swapped=5))
    assert placed.placement.prefetch == prefetch
    assert placed.peak == (6 + 1 + prefetch) * GB
    # one more on its way would take one more swapped, and so more to wait for
    assert choose(demand, budget).placement.prefetch == 1
    assert choose(demand, budget, Knobs(5, 1)).placement.prefetch == 1


def test_a_table_that_is_looked_up_goes_to_the_host_first() -> None:
    demand = Demand(sizes_of([GB] * 4, 0, shared=2 * GB), (Effort(0),))
    resident, without, streamed = (choose(demand, budget * GB) for budget in (6, 5, 2))
    assert resident.placement == Placement()
    assert without.placement.swapped == ("shared",)
    assert without.weights == 4 * GB
    assert len(streamed.placement.swapped) == 5
    assert streamed.weights == 2 * GB


def test_bytes_of_a_placement() -> None:
    sizes = sizes_of([5, 5, 7], 3, text_embedding=4, shared=20)
    assert device_bytes(sizes, Placement()) == 44
    some = Placement(swapped=("blocks.1", "blocks.2", "text_embedding", "shared"))
    assert device_bytes(sizes, some) == 5 + 2 * 7 + 3
    assert host_bytes(sizes, some) == sizes.bytes
    assert host_bytes(sizes, Placement()) == 0
    assert traffic(sizes, some) == 5 + 7 + 4
    # a part alone has a slot of its own size
    alone = Placement(swapped=("text_embedding",))
    assert device_bytes(sizes, alone) == device_bytes(sizes, Placement())


def test_factors_lie_in_their_units() -> None:
    sizes = sizes_of([5, 5], 3, text_embedding=4).plus({"blocks.1": 2, "": 7})
    assert sizes.units == {"blocks.0": 5, "blocks.1": 7}
    assert (sizes.rest, sizes.bytes) == (10, 26)
