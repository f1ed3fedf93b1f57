"""What block swap takes on the device, in closed form. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ALIGNMENT = 256
"""Bytes that the offset of every tensor in a buffer is a multiple of; what allocators of CUDA give, too."""


BUFFERS = 2
"""Buffers in host memory that units in files go through: one that is filled while the other one is copied."""


def aligned(size: int) -> int:
    """``size`` bytes, rounded up to a whole number of :data:`ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def packed_bytes(sizes: Iterable[int]) -> int:
    """Bytes of a unit whose tensors of ``sizes`` bytes lie behind each other."""
    return sum(aligned(size) for size in sizes)


def slot_count(swapped: int, prefetch: int) -> int:
    """Slots for ``swapped`` units: one that computes and ``prefetch`` on their way; never more than units.

    Raises:
        ValueError: one of the numbers is negative.
    """
    if swapped < 0 or prefetch < 0:
        raise ValueError(f"{swapped} swapped units with {prefetch} prefetched cannot be")
    return min(swapped, prefetch + 1)


def swap_bytes(sizes: Sequence[int], swapped: Iterable[int], prefetch: int) -> int:
    """Bytes that the units of a stack take on the device: the resident ones and the slots.

    Args:
        sizes: of all units, as :func:`packed_bytes` gives them.
        swapped: indices of those that are swapped.
        prefetch: units on their way while one computes.

    Raises:
        ValueError: there is no unit of an index, or ``prefetch`` is negative.
    """
    away = set(swapped)
    if not away <= set(range(len(sizes))):
        raise ValueError(f"of {len(sizes)} units, those at {sorted(away)} cannot be swapped")
    resident = sum(size for index, size in enumerate(sizes) if index not in away)
    slots = slot_count(len(away), prefetch)
    return resident + slots * max((sizes[index] for index in away), default=0)


def spread(units: int, swapped: int) -> tuple[int, ...]:
    """Indices of ``swapped`` of ``units`` units, as far from each other as can be.

    What lies between two swapped units computes while the next one is copied, so that a copy may take longer
    than one unit's work. The first unit is the last one to be chosen.

    Raises:
        ValueError: there are not so many units.
    """
    if not 0 <= swapped <= units:
        raise ValueError(f"of {units} units {swapped} cannot be swapped")
    return tuple(i for i in range(units) if (i + 1) * swapped // units > i * swapped // units)
