"""What lies in host memory while a part of a run goes on, and what has no room there. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from wan_core.planning.unit_sizes import UnitSizes

__all__ = ["HostShare", "host_share"]


@attrs.frozen
class HostShare:
    """Bytes of components in host memory.

    Attributes:
        there: in memory, with the buffers that units in files go through.
        files: of units that lie in files.
        outside: of what belongs to no unit, and so can't lie in a file.
        buffers: of the buffers, where there are some.
    """

    there: int = 0
    files: int = 0
    outside: int = 0
    buffers: int = 0


def host_share(
    swapped: Sequence[UnitSizes], in_use: UnitSizes | None, room: int | None
) -> HostShare:
    """What components that are swapped have in host memory.

    All that a stage uses stays there where there is room. Otherwise what is in use has all of it, and the units
    for which that is not enough lie in files.

    Args:
        swapped: the components.
        in_use: the one of them that works; None = none of them does.
        room: bytes that they may take; None = no bound.
    """
    every = sum(one.bytes for one in swapped)
    if room is None or every <= room:
        return HostShare(every)
    if in_use is None or in_use.bytes <= room:
        return HostShare(in_use.bytes if in_use else 0)
    outside, buffers = in_use.outside, in_use.buffers
    there = max(room, outside + buffers)
    return HostShare(there, in_use.bytes + buffers - there, outside, buffers)
