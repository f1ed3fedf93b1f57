"""Which units of a component are swapped, so that it works within a budget. Pure arithmetic, no torch.

What costs least comes first: everything on the device; the fewest swapped units with one on its way while
another computes; then the same with more and more *effort* (fewer rows at a time), with embeddings in host
memory, and at last without anything on its way. The first that fits is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import attrs

from wan_core.contract.placement import Placement
from wan_core.memory.sizes import spread, swap_bytes
from wan_core.planning.unit_sizes import UnitSizes

__all__ = [
    "Demand",
    "Effort",
    "Knobs",
    "Placed",
    "choose",
    "device_bytes",
    "host_bytes",
    "traffic",
]

PREFETCH = 1
MORE_PREFETCH = 2
"""Units on their way where one is not enough to hide the transfer."""


@attrs.frozen
class Effort:
    """Working with so many rows at a time takes so many bytes beside the weights."""

    activations: int
    rows: int | None = None


@attrs.frozen
class Demand:
    """What a component needs, wherever its units lie.

    Attributes:
        sizes: of its units.
        efforts: ways to work, the easiest first; each takes less than the one before.
        reserved: bytes on the device for so many of weights and of activations, with all that is there besides.
        hides: whether the copies of so many swapped units take no longer than the work; None = not known.
    """

    sizes: UnitSizes
    efforts: tuple[Effort, ...]
    reserved: Callable[[int, int], int] = lambda weights, activations: weights + activations
    hides: Callable[[int], bool | None] = lambda swapped: None


@attrs.frozen
class Knobs:
    """What the workflow says of a component; None, or a part that is not named, leaves it to the plan.

    Attributes:
        swapped: how many units.
        prefetch: units on their way while one computes.
        parts: whether a part lies in host memory.
    """

    swapped: int | None = None
    prefetch: int | None = None
    parts: Mapping[str, bool] = attrs.field(factory=dict)


@attrs.frozen
class Placed:
    """A placement and what it takes.

    Attributes:
        weights, activations: bytes on the device.
        peak: of the device's memory, with all that is there besides.
        fits: whether that is within the budget.
    """

    placement: Placement
    weights: int
    activations: int
    peak: int
    fits: bool


def choose(demand: Demand, budget: int | None, knobs: Knobs | None = None) -> Placed:
    """The placement of a component within ``budget`` bytes; None = no bound.

    Where nothing fits it is the placement with the smallest peak.
    """
    knobs = knobs or Knobs()
    least: Placed | None = None
    for one in _candidates(demand, budget, knobs):
        if one.fits:
            return _hurried(demand, budget, knobs, one)
        if least is None or one.peak < least.peak:
            least = one
    assert least is not None
    return least


def device_bytes(sizes: UnitSizes, placement: Placement) -> int:
    """Bytes of a component's weights where it computes.

    Parts are units, too, the first ones of a pass, and share the slots; what is used on the host has none.
    """
    away = set(placement.swapped)
    if not away:
        return sizes.bytes
    moving = sizes.movable
    tables = sum(sizes.parts[name] for name in sizes.on_host - away)
    indices = [index for index, name in enumerate(moving) if name in away]
    return sizes.rest + tables + swap_bytes(list(moving.values()), indices, placement.prefetch)


def host_bytes(sizes: UnitSizes, placement: Placement) -> int:
    """Bytes in host memory: of what is swapped at all, everything stays there between its uses."""
    return sizes.bytes if placement.swapped else 0


def traffic(sizes: UnitSizes, placement: Placement) -> int:
    """Bytes that travel to the device in a pass."""
    known = {**sizes.units, **sizes.parts}
    return sum(known[name] for name in placement.swapped if name not in sizes.on_host)


def _candidates(demand: Demand, budget: int | None, knobs: Knobs) -> Iterator[Placed]:
    sizes, easiest = demand.sizes, demand.efforts[0]
    count = len(sizes.units)
    asked = {part for part, away in knobs.parts.items() if away and part in sizes.parts}
    free = set(sizes.parts) - set(knobs.parts)
    prefetch = PREFETCH if knobs.prefetch is None else knobs.prefetch
    numbers = range(count + 1) if knobs.swapped is None else (min(knobs.swapped, count),)

    def place(swapped: int, ahead: int, parts: set[str], effort: Effort) -> Placed:
        names = list(sizes.units)
        away = tuple(names[index] for index in spread(count, swapped))
        away += tuple(part for part in sizes.parts if part in parts)
        placement = Placement(None, away, ahead, effort.rows)
        weights = device_bytes(sizes, placement)
        peak = demand.reserved(weights, effort.activations)
        fits = budget is None or peak <= budget
        return Placed(placement, weights, effort.activations, peak, fits)

    # a table that is used where it lies costs nothing, but all on the device is simplest
    if 0 in numbers:
        yield place(0, prefetch, asked, easiest)
    at_home = asked | (free & sizes.on_host)
    for parts in (at_home, asked | free):
        for effort in demand.efforts:
            for swapped in numbers:
                yield place(swapped, prefetch, parts, effort)
    if knobs.prefetch is None:
        for swapped in numbers:
            yield place(swapped, 0, asked | free, demand.efforts[-1])


def _hurried(demand: Demand, budget: int | None, knobs: Knobs, one: Placed) -> Placed:
    """With one unit more on its way, where the copies would be waited for and there is room."""
    swapped = sum(name in demand.sizes.units for name in one.placement.swapped)
    again = one.placement.prefetch == PREFETCH and knobs.prefetch is None
    if not again or swapped <= MORE_PREFETCH or demand.hides(swapped) is not False:
        return one
    placement = attrs.evolve(one.placement, prefetch=MORE_PREFETCH)
    weights = device_bytes(demand.sizes, placement)
    peak = demand.reserved(weights, one.activations)
    if budget is not None and peak > budget:
        return one
    return attrs.evolve(one, placement=placement, weights=weights, peak=peak)
