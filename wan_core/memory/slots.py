"""Slots: buffers on the device, each of which holds one unit at a time.

::

    FREE -> LOADING -> READY <-> IN_USE
               ^---------'

A slot that is not in use keeps its unit until its room is needed, so that a unit which is called several times
in a row travels once.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum

import attrs
import torch
from torch import Tensor

from wan_core.memory.copies import Copier, Mark, Span
from wan_core.memory.sources import Source


class SlotState(IntEnum):
    """What a slot is doing. The order is that in which slots are given to the next unit."""

    FREE = 0
    """It holds nothing."""
    READY = 1
    """Its unit is there."""
    LOADING = 2
    """Its unit is on its way."""
    IN_USE = 3
    """Its unit computes."""


@attrs.define(eq=False)
class Slot:
    """One buffer.

    Attributes:
        buffer: uint8, as large as the largest swapped unit.
        used: the end of the last use of the buffer; a copy into it begins after that.
        state: see :class:`SlotState`.
        unit: name of the unit that is there or on its way; None = nothing.
        copied: the copy of that unit; None = nothing.
        fresh: it was not used since.
        waited: how long the use that goes on had to wait for it.
    """

    buffer: Tensor
    used: Mark
    state: SlotState = SlotState.FREE
    unit: str | None = None
    copied: Span | None = None
    fresh: bool = False
    waited: Span | None = None
    _views: dict[str, list[Tensor]] = attrs.field(factory=dict)

    def views(self, source: Source) -> list[Tensor]:
        """The tensors of a unit in this buffer; made once."""
        if source.name not in self._views:
            self._views[source.name] = source.packing.views(self.buffer)
        return self._views[source.name]


class SlotPool:
    """Slots of one size on one device.

    Args:
        copier: the device.
        size: bytes of a slot.
        count: how many.

    Attributes:
        slots: all of them.
        copies: units copied so far.
        copied_bytes: and their bytes.
    """

    def __init__(self, copier: Copier, size: int, count: int) -> None:
        self._copier = copier
        self._size = size
        self.slots: list[Slot] = []
        self.copies = 0
        self.copied_bytes = 0
        self.resize(count)

    def holding(self, unit: str) -> Slot | None:
        """The slot where a unit is, or to which it is on its way."""
        return next((slot for slot in self.slots if slot.unit == unit), None)

    def load(self, source: Source, keep: Collection[str]) -> Slot | None:
        """Send a unit on its way.

        Args:
            source: where its bytes are.
            keep: units that must not lose their slots.

        Returns:
            Its slot; None when every slot is in use or holds a unit of ``keep``.
        """
        open_to = [s for s in self.slots if s.state < SlotState.IN_USE and s.unit not in keep]
        if not open_to:
            return None
        slot = min(open_to, key=lambda slot: slot.state)
        slot.state, slot.unit, slot.copied = SlotState.FREE, None, None
        slot.copied = source.send(lambda host: self._copier.fill(slot.buffer, host, slot.used))
        slot.state, slot.unit, slot.fresh = SlotState.LOADING, source.name, True
        self.copies += 1
        self.copied_bytes += source.packing.bytes
        return slot

    def use(self, slot: Slot) -> None:
        """What is computed from now on finds the slot's unit there.

        Raises:
            RuntimeError: the slot holds no unit, or is in use.
        """
        if slot.copied is None or slot.state not in (SlotState.LOADING, SlotState.READY):
            raise RuntimeError(f"a slot that is {slot.state.name} cannot be used")
        slot.waited = self._copier.wait(slot.copied)
        slot.state = SlotState.IN_USE

    def done(self, slot: Slot) -> None:
        """The use of the slot ends with what was to be computed so far."""
        slot.used = self._copier.mark()
        slot.state = SlotState.READY

    def resize(self, count: int) -> None:
        """Have ``count`` slots. The first to go are those that hold nothing, then those not used yet.

        Raises:
            RuntimeError: more slots are in use; nothing has changed then.
        """
        in_use = sum(slot.state is SlotState.IN_USE for slot in self.slots)
        if in_use > count:
            raise RuntimeError(f"{in_use} slots are in use, there cannot be {count}")
        staying = sorted(self.slots, key=lambda slot: slot.state, reverse=True)[:count]
        if len(staying) < len(self.slots):
            self._copier.finish()  # the memory of a slot that goes may be given to others at once
        self.slots = [slot for slot in self.slots if slot in staying]
        with torch.inference_mode(False):  # weights must not become tensors of that mode
            while len(self.slots) < count:
                self.slots.append(Slot(self._copier.allocate(self._size), self._copier.mark()))

    def close(self) -> None:
        """Give all slots back, whatever they were doing."""
        self._copier.finish()
        self.slots = []
