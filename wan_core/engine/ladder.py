"""What is tried, one after the other, when a component is in use and memory has run out. No torch.

What changes no bit comes first: more blocks swapped, then fewer on their way. Then come pieces, whose results
differ by rounding, and at last another device.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from wan_core.contract.placement import Placement
from wan_core.memory.sizes import spread
from wan_core.planning import phases

ROWS = tuple(rows for rows in phases.ROWS if rows is not None)
"""Rows that a transformer handles at a time: those among which plans choose."""


@attrs.frozen
class Abilities:
    """What can be done with a component.

    Attributes:
        units: names of its units, in order.
        parts: of what else may lie in host memory: embeddings, tables.
        rows: it can handle some rows at a time.
        frames: some frames at a time.
        tiles: some part of the picture at a time, and the user allows it.
        cpu: it can move to the CPU.
    """

    units: Sequence[str] = ()
    parts: Sequence[str] = ()
    rows: bool = False
    frames: bool = False
    tiles: bool = False
    cpu: bool = False


@attrs.frozen
class Rung:
    """A smaller placement.

    Attributes:
        how: what is done, in plain words.
        exact: no bit of the result changes.
    """

    placement: Placement
    how: str
    exact: bool = True


def next_rung(now: Placement, can: Abilities) -> Rung | None:
    """The next smaller placement; None when there is none."""
    if now.device == "cpu":
        return None
    return _more_swapped(now, can) or _less_prefetched(now, can) or _in_pieces(now, can)


def _more_swapped(now: Placement, can: Abilities) -> Rung | None:
    """Half of the blocks that stay on the device, and the next time everything."""
    count = len(can.units)
    staying = [name for name in can.units if name not in now.swapped]
    if count == 0 or {*can.units, *can.parts} <= {*now.swapped}:
        return None
    if 2 * len(staying) > count:
        leaving = {staying[i] for i in spread(len(staying), (len(staying) + 1) // 2)}
        units = tuple(n for n in can.units if n in leaving or n in now.swapped)
        swapped = (*units, *(part for part in can.parts if part in now.swapped))
        how = f"{len(units)} of {count} blocks are swapped"
    else:
        swapped = (*can.units, *can.parts)
        how = f"all {count} blocks are swapped" + (", and embeddings" if can.parts else "")
    # more on their way than the plan had found room for would be no help
    ahead = now.prefetch if now.swapped else 1
    return Rung(attrs.evolve(now, swapped=swapped, prefetch=ahead), how)


def _less_prefetched(now: Placement, can: Abilities) -> Rung | None:
    if not now.swapped or not can.units or now.prefetch == 0:
        return None
    fewer = min(now.prefetch - 1, 1)
    how = f"{fewer} on its way" if fewer else "none is on its way while another computes"
    return Rung(attrs.evolve(now, prefetch=fewer), f"of the swapped blocks {how}")


def _in_pieces(now: Placement, can: Abilities) -> Rung | None:
    if can.rows:
        for rows in ROWS:
            if now.rows is None or now.rows > rows:
                return Rung(
                    attrs.evolve(now, rows=rows), f"{rows} rows are handled at a time", False
                )
    if can.frames and now.at_once is None:
        return Rung(attrs.evolve(now, at_once=1), "one frame is handled at a time", False)
    if can.tiles and not now.tiles:
        how = "it decodes in tiles, which changes the picture (allow_inexact)"
        return Rung(attrs.evolve(now, tiles=True), how, False)
    if can.cpu:
        # there is room for everything there
        there = Placement(device="cpu")
        return Rung(there, "it works on the CPU, which is slow", False)
    return None
