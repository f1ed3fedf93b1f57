"""Components whose units are swapped: all of them lies in host memory, and a part on the device while in use.

What is on the device while a component works (units that stay, slots, the rest) leaves when it is not in use
any more; its bytes in host memory stay. So the second of two experts takes the room of the first, slots
included, and neither is read twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from wan_core.contract.errors import ResourceError
from wan_core.contract.placement import Placement
from wan_core.engine.pieces import to_cpu
from wan_core.memory import (
    BlockStack,
    BlockSwap,
    Copier,
    CudaCopier,
    HostRoom,
    Keeper,
    Ledger,
    Residency,
    SimulatedCopier,
    Traffic,
    WithParts,
    stack_of,
)

Load = Callable[[Keeper], Any]
"""Loads a component into host memory; the keeper may be handed units of it."""


@attrs.define(eq=False)
class SwappedComponent:
    """A component in host memory and what swaps its units.

    Attributes:
        value: the component.
        swap: its units.
        counted: what had travelled when a run began to use it.
    """

    value: Any
    swap: BlockSwap
    counted: Traffic = attrs.field(factory=Traffic)


@attrs.frozen
class HostSizes:
    """What a component takes in host memory, in bytes.

    Attributes:
        bytes: of all its weights.
        units: names of what can lie in files instead; none where that is not known.
        fixed: of what can't, and of the buffers that units in files go through.
        beside: what else has to have room there while it is in use.
    """

    bytes: int
    units: Collection[str] = ()
    fixed: int = 0
    beside: int = 0


class HostComponents:
    """What lies in host memory to be swapped from there, between runs, too.

    Args:
        folder: for units that have no room in host memory.
        memory: what else lies in host memory.

    Attributes:
        residency: components by the bytes that they take in host memory.
    """

    def __init__(self, folder: Path | None = None, memory: Residency | None = None) -> None:
        self.residency = Residency(within=memory)
        self._room = HostRoom(folder=folder)

    def acquire(
        self,
        key: Hashable,
        title: str,
        sizes: HostSizes,
        placement: Placement,
        device: str,
        load: Load,
    ) -> SwappedComponent:
        """The component under ``key``, loaded if it is not there; counts one more user.

        Where host memory is too small for it, units lie in files.

        Args:
            sizes: of its weights.
            device: where it computes.

        Raises:
            ResourceError: it has no units that could be swapped, or neither memory nor disk has room for them.
        """
        self.residency.trim()  # the budget may be a smaller one than that of the last run
        free = self.residency.room(sizes.beside)
        taken = sizes.bytes if free is None else min(sizes.bytes, free)

        def loaded() -> SwappedComponent:
            room, staying = self._room, []
            if taken < sizes.bytes:
                room = room.bounded(max(0, taken - sizes.fixed))
                staying = [name for name in sizes.units if name not in placement.swapped]
            keeper = Keeper(placement.swapped, torch.device(device), room, staying)
            return _swapped(load(keeper), title, placement, keeper)

        found: SwappedComponent = self.residency.acquire(key, title, taken, loaded)
        asked = (set(placement.swapped), placement.prefetch)
        if not found.swap.is_active and (set(found.swap.swapped), found.swap.prefetch) != asked:
            found.swap.change(placement.swapped, placement.prefetch)
        return found


@torch.inference_mode(False)
@torch.no_grad()
def into_host_memory(component: Any, keeper: Keeper) -> Any:
    """Move a component that is resident to where :class:`HostComponents` would have loaded it."""
    stack = stack_of(component)
    assert stack is not None, "only stacks are swapped"
    for unit in WithParts(stack).units():
        if unit.name in keeper.names and unit.name not in keeper.staying:
            keeper.keep(unit.name, unit.module)
    to_cpu(component)
    return component


def _swapped(component: Any, title: str, placement: Placement, keeper: Keeper) -> SwappedComponent:
    stack = stack_of(component)
    if stack is None:
        raise ResourceError(
            f"{title} is not made of units that could be swapped",
            remedy="leave the knobs of [memory] that ask for it out",
        )
    copier = _copier(keeper.device)
    swap = BlockSwap(
        WithParts(stack),
        placement.swapped,
        placement.prefetch,
        copier,
        provider=keeper,
        from_host=True,
    )
    _count_staying(stack, keeper)
    return SwappedComponent(component, swap)


def _count_staying(stack: BlockStack, keeper: Keeper) -> None:
    """What stays takes of the room, too, if its loader has not said so."""
    for unit in WithParts(stack).units():
        if unit.name in keeper.staying:
            keeper.keep(unit.name, unit.module)


def _copier(device: torch.device) -> Copier:
    if device.type == "cuda":
        return CudaCopier(device)
    # each copy arrives with the next thing that happens, so that prefetching hides it
    return SimulatedCopier(lambda coming: 1)


@attrs.define(eq=False)
class SwappedUse:
    """The use of a swapped component by one stage.

    Attributes:
        component: it.
        key: its key in both residencies.
        title: what it is, in plain words.
        host: what lies in host memory.
        device: what is resident on its device.
        ledger: counts what travels.
    """

    component: SwappedComponent
    key: Hashable
    title: str
    host: HostComponents
    device: Residency
    ledger: Ledger

    def begin(self, headroom: int) -> None:
        """Have what stays on the device there, and the slots.

        Args:
            headroom: bytes that its work needs beside.

        Raises:
            ResourceError: the device's budget has no room for that.
        """
        swap = self.component.swap

        def bring() -> BlockSwap:
            self.component.counted = swap.traffic
            swap.report_to(self.ledger.tell_of_units)
            swap.open()
            return swap

        try:
            self.device.acquire(self.key, self.title, swap.device_bytes, bring, headroom=headroom)
        except BaseException:
            self.host.residency.release(self.key)
            raise

    def take_over(self, headroom: int) -> None:
        """What :meth:`begin` does, for a component that has been in use as a whole.

        Raises:
            torch.OutOfMemoryError: the device has no room; :meth:`change` to less may follow.
        """
        swap = self.component.swap
        self.component.counted = swap.traffic
        swap.report_to(self.ledger.tell_of_units)
        self.device.acquire(
            self.key, self.title, swap.device_bytes, lambda: swap, headroom=headroom
        )
        swap.open()

    def change(self, swapped: tuple[str, ...], prefetch: int) -> None:
        """Swap other units from now on, between two steps; see :meth:`BlockSwap.change`.

        After one that found no room on the device, another one may ask for less.
        """
        swap = self.component.swap
        swap.change(swapped, prefetch)
        if not swap.is_active:
            swap.open()
        self.device.resize(self.key, swap.device_bytes)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A region in which its units may be compiled or given other tensors."""
        swap = self.component.swap
        with swap.paused():
            yield
        self.device.resize(self.key, swap.device_bytes)

    def end(self) -> None:
        """What is on the device leaves, if nobody else uses it."""
        if self.device.release(self.key) == 0:
            try:
                self.component.swap.close()
            finally:
                self.device.drop(self.key)
            self.ledger.traffic.add(self.component.swap.traffic.since(self.component.counted))
        self.host.residency.release(self.key)
