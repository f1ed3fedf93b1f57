"""What is tried when memory runs out: the order, and that it ends."""

from __future__ import annotations

import pytest

from wan_core.contract.placement import RESIDENT, Placement
from wan_core.engine.ladder import Abilities, Rung, next_rung

UNITS = tuple(f"blocks.{i}" for i in range(7))
PARTS = ("text_embedding",)


def climb(now: Placement, can: Abilities) -> list[Rung]:
    rungs: list[Rung] = []
    while rung := next_rung(now, can):
        rungs.append(rung)
        now = rung.placement
        assert len(rungs) < 20
    return rungs


TRANSFORMER = Abilities(UNITS, PARTS, rows=True)
ENCODER = Abilities(UNITS, PARTS, cpu=True)
VAE = Abilities(frames=True, cpu=True)
WAYS = {
    "a resident transformer": (
        RESIDENT,
        TRANSFORMER,
        ["4 of 7 blocks", "all 7 blocks", "none is on its way", "8192 rows", "2048 rows"],
    ),
    "some are swapped": (
        Placement(swapped=UNITS[:2], prefetch=2),
        TRANSFORMER,
        ["5 of 7", "all 7", "1 on its way", "none is on its way", "8192 rows", "2048 rows"],
    ),
    "most are swapped": (
        Placement(swapped=UNITS[:5], rows=8192),
        TRANSFORMER,
        ["all 7 blocks", "none is on its way", "2048 rows"],
    ),
    "all is done": (Placement(swapped=(*UNITS, *PARTS), prefetch=0, rows=2048), TRANSFORMER, []),
    "an encoder": (RESIDENT, ENCODER, ["4 of 7", "all 7", "none is on its way", "on the CPU"]),
    "on the CPU": (Placement(device="cpu"), ENCODER, []),
    "a VAE": (RESIDENT, VAE, ["one frame", "on the CPU"]),
    "a VAE that may be inexact": (
        RESIDENT,
        Abilities(frames=True, tiles=True, cpu=True),
        ["one frame", "tiles, which changes the picture", "on the CPU"],
    ),
    "what can do nothing": (RESIDENT, Abilities(), []),
}


@pytest.mark.parametrize("way", WAYS)
def test_order(way: str) -> None:
    now, can, want = WAYS[way]
    rungs = climb(now, can)
    assert len(rungs) == len(want), rungs
    assert all(part in rung.how for part, rung in zip(want, rungs, strict=True)), rungs
    exact = [rung.exact for rung in rungs]
    assert exact == sorted(exact, reverse=True)  # nothing that changes bits before what does not


def test_what_is_swapped_stays_swapped_and_lies_apart() -> None:
    first, second, *_ = climb(RESIDENT, TRANSFORMER)
    assert first.placement.swapped == ("blocks.1", "blocks.3", "blocks.5", "blocks.6")
    assert set(second.placement.swapped) == {*UNITS, *PARTS}
    assert first.placement.prefetch == second.placement.prefetch == 1


def test_a_component_on_the_cpu_has_no_pieces() -> None:
    *_, last = climb(RESIDENT, Abilities(frames=True, tiles=True, cpu=True))
    assert last.placement == Placement(device="cpu")
