"""What a run has recovered from, kept beside its latents: one that goes on begins as small as it had become.

No torch. What the file says is believed only where it could be ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.contract.events import Recovered
from wan_core.contract.placement import Placement
from wan_core.engine.safely import as_line, as_list, read_json, write_whole
from wan_core.engine.unfinished import is_own

FILE = "recoveries.json"
FORMAT = 1
LARGEST = 2**22
WRITING = "decoding and writing"
"""The task after which no latents change."""


@attrs.frozen
class Recoveries:
    """What has failed in a run, and how it has gone on.

    Attributes:
        made: in order.
        placements: (model, slot) -> where the component works now, where that is not as planned.
    """

    made: tuple[Recovered, ...] = ()
    placements: Mapping[tuple[str, str], Placement] = attrs.field(factory=dict)

    def of_latents(self) -> Recoveries:
        """What must be said of a video that another plan makes of the kept latents."""
        return Recoveries(tuple(one for one in self.made if not one.exact and one.task != WRITING))

    def write(self, folder: Path) -> None:
        """Write them into a run's folder, whole or not at all.

        Raises:
            OSError: that is not possible.
        """
        placements = [
            {"model": model, "slot": slot, **attrs.asdict(placement)}
            for (model, slot), placement in self.placements.items()
        ]
        made = [attrs.asdict(one) for one in self.made]
        text = json.dumps({"format": FORMAT, "made": made, "placements": placements})
        write_whole(folder / FILE, lambda partial: partial.write_text(text, encoding="utf-8"))


def read_recoveries(folder: Path) -> Recoveries:
    """Read what :meth:`Recoveries.write` has written; nothing where it has not.

    Raises:
        WeightsError: what is there can't be that.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return Recoveries()
    if not is_own(path):
        raise WeightsError("is no plain file", where=path.name)
    try:
        fields = read_json(path, LARGEST)
        if fields["format"] != FORMAT:
            raise ValueError("of another version")
        made = tuple(Recovered(**_fields(Recovered, one)) for one in as_list(fields["made"]))
        placements = {
            (as_line(one["model"]), as_line(one["slot"])): _placement(one)
            for one in as_list(fields["placements"])
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError("is damaged", where=path.name) from error
    return Recoveries(made, placements)


def smaller(
    planned: Placement, kept: Placement, *, units: Sequence[str], allow_inexact: bool
) -> Placement:
    """The smaller of two placements of a component, in all that makes it small.

    Args:
        planned: its own, with budgets that may have changed since.
        kept: that of the run that was cut short.
        units: what can be swapped of it.
        allow_inexact: tiles are allowed.
    """
    if "cpu" in (planned.device, kept.device):
        return Placement(device="cpu")
    both = {*planned.swapped, *kept.swapped}
    ahead = min(planned.prefetch, kept.prefetch) if planned.swapped else kept.prefetch
    return attrs.evolve(
        planned,
        swapped=tuple(name for name in units if name in both) or planned.swapped,
        prefetch=ahead,
        rows=min(filter(None, (planned.rows, kept.rows)), default=None),
        at_once=kept.at_once or planned.at_once,
        tiles=planned.tiles or (kept.tiles and allow_inexact),
    )


def _placement(fields: Mapping[str, Any]) -> Placement:
    found = Placement(
        device="cpu" if fields["device"] == "cpu" else None,  # no other one is chosen
        swapped=tuple(map(as_line, as_list(fields["swapped"]))),
        prefetch=fields["prefetch"],
        rows=fields["rows"],
        at_once=fields["at_once"],
        tiles=fields["tiles"],
    )
    numbers = (found.prefetch + 1, found.rows or 1, found.at_once or 1)
    if not all(type(n) is int and n > 0 for n in numbers) or type(found.tiles) is not bool:
        raise ValueError("no placement")
    return found


def _fields(kind: type[attrs.AttrsInstance], value: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field.name: _flag(value[field.name])
        if field.name == "exact"
        else as_line(value[field.name])
        for field in attrs.fields(kind)
    }


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value
