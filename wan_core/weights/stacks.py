"""Which tensors of a file become which unit of a model, and how many bytes they take, from its header alone.

What :class:`~wan_core.memory.BlockStack` says of a loaded model, a :class:`StoredStack` says of its file.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import attrs

from wan_core.weights.naming import matches
from wan_core.weights.quantised.layouts import BLOCK_SCALES, Layout
from wan_core.weights.quantised.source import UnpackedSource

__all__ = ["Stored", "StoredStack", "numbered"]

EMPTY: Mapping[str, str] = {}


@attrs.frozen
class Stored:
    """What a tensor of a file takes once it is loaded.

    Attributes:
        values: numbers that are loaded in the precision of the model.
        exact: numbers that are loaded in float32 whatever the model's precision is.
        codes: bytes of what stays as it is: codes of a quantised weight, their scales.
    """

    values: int = 0
    exact: int = 0
    codes: tuple[int, ...] = ()

    def sizes(self, item: int) -> tuple[int, ...]:
        """Bytes of each tensor in memory; ``item`` is bytes per number of the model's precision."""
        return self.codes or (self.values * item + self.exact * 4,)

    def scaled(self, times: int, over: int) -> Stored:
        """What it takes when it has ``times / over`` as many numbers, all of them unpacked."""
        return Stored(self.values * times // over, self.exact * times // over)


@attrs.frozen
class StoredStack:
    """How the tensors of a file fall into units.

    Attributes:
        source: the file as its loader reads it: official names, plain tensors.
        units: name of a unit -> what the names of its tensors begin with, in the order in which a forward pass
            calls the units. Names are those of the loaded model.
        parts: likewise what can lie in host memory beside units.
        on_host: those of ``parts`` that are used where they lie and never come to the device, such as a table
            that is looked up.
        keep_float32: ``fnmatch`` patterns of tensors that are loaded in float32.
        keep_half: the same, of those that are loaded in float32 only where the precision is float16.
        unpacks: patterns of quantised matrices that the loader unpacks.
    """

    source: UnpackedSource
    units: Mapping[str, str]
    parts: Mapping[str, str] = EMPTY
    on_host: frozenset[str] = frozenset()
    keep_float32: tuple[str, ...] = ()
    keep_half: tuple[str, ...] = ()
    unpacks: tuple[str, ...] = ()

    @property
    def holds_codes(self) -> bool:
        """Whether matrices of units are quantised in the file. Then nothing else of it is quantised while it is
        loaded: what is not is meant to stay."""
        blocks = tuple(self.units.values())
        return any(name.startswith(blocks) for name in self.source.layouts)

    def tensors(
        self, dtype: str, packed: Mapping[str, tuple[int, ...]] | None = None
    ) -> dict[str, Stored]:
        """What each tensor takes, by its official name.

        Args:
            dtype: precision of the model.
            packed: sizes of codes and scales of the matrices that are quantised while they are loaded.
        """
        exact = self.keep_float32 + (self.keep_half if dtype == "float16" else ())
        found = {}
        for name in self.source.names():
            in_float32 = matches(name, exact)
            if packed and name in packed:
                found[name] = Stored(codes=packed[name])
            elif self._stays_packed(name) and not in_float32:
                found[name] = Stored(codes=_codes(self.source, name))
            else:
                count = prod(self.source.shape(name))
                found[name] = Stored(exact=count) if in_float32 else Stored(values=count)
        return found

    def owner(self, name: str) -> str:
        """The unit or part that a tensor belongs to; ``""`` for the rest."""
        for owner, prefix in (*self.units.items(), *self.parts.items()):
            if name.startswith(prefix):
                return owner
        return ""

    def _stays_packed(self, name: str) -> bool:
        return (
            name.endswith(".weight")
            and self.source.stays_packed(name)
            and not matches(name, self.unpacks)
        )


def numbered(pattern: str, prefix: str, names: Iterable[str]) -> dict[str, str]:
    """Units that are numbered in files: ``pattern`` makes a unit's name of its number.

    Args:
        prefix: what stands before the number in the names of tensors.
        names: all of them.
    """
    rests = (name.removeprefix(prefix) for name in names if name.startswith(prefix))
    numbers = {int(n) for n in (rest.partition(".")[0] for rest in rests) if n.isdecimal()}
    return {pattern.format(number): f"{prefix}{number}." for number in sorted(numbers)}


def _codes(source: UnpackedSource, name: str) -> tuple[int, ...]:
    """Bytes of the codes of a quantised weight in memory, and of its scales."""
    layout = source.layouts[name]
    sizes = [source.base.tensors[name].nbytes]
    if layout.scale:
        sizes.append(4 * prod(source.base.shape(layout.scale)))
    if layout.block_scales:
        stored = source.base.tensors[layout.block_scales].nbytes
        sizes.append(_in_rows(layout) if layout.scheme in BLOCK_SCALES else stored)
    return tuple(sizes)


def _in_rows(layout: Layout) -> int:
    """Scales of blocks in their rows, without what fills up the tiles of the file."""
    rows, columns = layout.shape
    return rows * (columns // BLOCK_SCALES[layout.scheme][0])
