"""Which files of a family are here, and which have to be fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs

from wan_core.cli.pull.pins import Pins
from wan_core.cli.pull.stores import Store
from wan_core.contract.descriptions import Component, Family, PublishedFile
from wan_core.planning.library import Library


@attrs.frozen
class Wanted:
    """A published file that a family needs.

    Attributes:
        file: with what the lock knows about it.
        slot: of the model's table.
        here: where it is; None when it has to be fetched.
    """

    file: PublishedFile
    slot: str
    here: Path | None


def wanted(family: Family, library: Library, store: Store, pins: Pins) -> list[Wanted]:
    """All published files that a family needs, each once; those of optional components it does without.

    Where an alternative is here, it is that one that is needed.
    """
    found: dict[str, Wanted] = {}
    for slot, component in family.components.items():
        if component.optional:
            continue
        for one in _of_component(slot, component, library, store, pins):
            found.setdefault(one.file.name, one)
    return list(found.values())


def _of_component(
    slot: str, component: Component, library: Library, store: Store, pins: Pins
) -> Iterator[Wanted]:
    if component.bundled:
        return
    published = [pins.pinned(file) for file in component.published]
    own = [file for file in published if not file.slot]
    main = library.component(own)
    places = ((file, library.holds(file)) for file in component.alternatives if main is None)
    other, instead = next(((file, here) for file, here in places if here), (None, None))
    if other:
        yield Wanted(other, slot, instead)
    for file in published:
        if other and not file.slot:
            continue  # it serves as well
        if file.slot or len(own) == 1:
            here = library.holds(file)
        elif main is not None:
            here = main.parent / Path(file.path).name if not file.is_pattern else main
        else:
            # parts of one checkpoint belong together: only what lies where the others will go counts
            place = store.place(file) if file.revision and not file.is_pattern else None
            here = place if place and _is_whole(place, file.bytes) else None
        yield Wanted(file, file.slot or slot, here)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and size in (0, path.stat().st_size)
