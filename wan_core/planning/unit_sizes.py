"""Bytes of the units of a component, in closed form from its file's header. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.descriptions import Component, Family
from wan_core.contract.quantization import Quantization
from wan_core.memory.sizes import BUFFERS, packed_bytes
from wan_core.planning.files import PlannedFile
from wan_core.planning.predict import ITEM_SIZE
from wan_core.weights import open_weights
from wan_core.weights.described import can_be_quantised, quantised_layers, stored_stack
from wan_core.weights.quantised.own import weight_bytes

__all__ = ["UnitSizes", "sizes_by_slot", "unit_sizes"]


@attrs.frozen
class UnitSizes:
    """What a component's weights take in memory, in bytes.

    Attributes:
        units: name -> size, in the order of calls; as :func:`wan_core.memory.packed_bytes` of the loaded unit,
            but for what fills up the places of LoRA factors.
        parts: name -> size of what can lie in host memory beside units.
        on_host: those of ``parts`` that never come to the device then.
        rest: size of all other tensors.
        bytes: of all tensors, without what fills up their places.
    """

    units: Mapping[str, int]
    parts: Mapping[str, int]
    on_host: frozenset[str]
    rest: int
    bytes: int

    @property
    def movable(self) -> dict[str, int]:
        """Units and parts that come to the device, in the order of calls: name -> size."""
        return {
            **{name: size for name, size in self.parts.items() if name not in self.on_host},
            **self.units,
        }

    @property
    def outside(self) -> int:
        """Of what is not :attr:`movable`, and so can't lie in a file."""
        return max(0, self.bytes - sum(self.movable.values()))

    @property
    def buffers(self) -> int:
        """Of the buffers in host memory that units in files go through."""
        return BUFFERS * max(self.movable.values(), default=0)

    def plus(self, more: Mapping[str, int]) -> UnitSizes:
        """The same with more that lies in units and parts, such as factors of LoRA files.

        Args:
            more: unit or part -> bytes; ``""`` for what belongs to none.
        """
        units = {name: size + more.get(name, 0) for name, size in self.units.items()}
        parts = {name: size + more.get(name, 0) for name, size in self.parts.items()}
        everywhere = sum(more.values())
        outside = everywhere - sum(more.get(name, 0) for name in (*units, *parts))
        return attrs.evolve(
            self, units=units, parts=parts, rest=self.rest + outside, bytes=self.bytes + everywhere
        )


def sizes_by_slot(
    family: Family,
    files: Mapping[str, PlannedFile],
    dialects: Mapping[str, tuple[Any, ...]],
    dtype: str,
    quantization: Quantization | None,
) -> dict[str, UnitSizes]:
    """Sizes of all components of a model that are made of units; see :func:`unit_sizes`."""
    found = {
        slot: unit_sizes(family.components[slot], file, dialects.get(slot, ()), dtype, quantization)
        for slot, file in files.items()
    }
    return {slot: sizes for slot, sizes in found.items() if sizes}


def unit_sizes(
    component: Component,
    file: PlannedFile,
    dialects: Sequence[Any],
    dtype: str,
    quantization: Quantization | None = None,
) -> UnitSizes | None:
    """Sizes of the units of a component; None for one that is not made of units.

    Args:
        dialects: that plugins bring.
        dtype: precision of the model.
        quantization: how it is quantised while it is loaded.
    """
    source = open_weights(file.path)
    stack = stored_stack(component, source, dialects)
    if stack is None:
        return None
    packed = None
    if quantization and can_be_quantised(component) and not stack.holds_codes:
        shapes = quantised_layers(component, source, quantization, dialects)
        packed = {name: weight_bytes(quantization, shape) for name, shape in shapes.items()}
    item = ITEM_SIZE[dtype]
    tensors: dict[str, list[int]] = {"": [], **{name: [] for name in (*stack.units, *stack.parts)}}
    wider = {one.weight: one for one in file.widened}
    for name, stored in stack.tensors(dtype, packed).items():
        if one := wider.get(name):
            stored = stored.scaled(one.inputs, one.stored)
        tensors[stack.owner(name)] += stored.sizes(item)
    sizes = {name: packed_bytes(of) for name, of in tensors.items()}
    return UnitSizes(
        {name: sizes[name] for name in stack.units},
        {name: sizes[name] for name in stack.parts},
        stack.on_host,
        sizes[""],
        sum(map(sum, tensors.values())),
    )
