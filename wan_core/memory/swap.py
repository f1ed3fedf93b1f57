"""Block swap: units of a model lie in host memory and come to the device while others compute.

::

    swap = BlockSwap(transformer, ["blocks.1", "blocks.3"], 1, CudaCopier())
    with swap.active():
        sample(...)

A unit's bytes (:mod:`~wan_core.memory.sources`) are copied into a slot (:mod:`~wan_core.memory.slots`) by a
copier (:mod:`~wan_core.memory.copies`). Weights are never copied back: the host's are the originals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import attrs
import torch
from torch import Tensor, nn

from wan_core.memory.calls import around
from wan_core.memory.copies import Copier
from wan_core.memory.guests import Guests
from wan_core.memory.meter import Meter, Traffic, UnitTimes
from wan_core.memory.packing import tensors_of
from wan_core.memory.sizes import aligned, slot_count
from wan_core.memory.slots import Slot, SlotPool
from wan_core.memory.sources import HostMemory, Source
from wan_core.memory.units import BlockStack, tables_of

Provider = Callable[[str, Sequence[Tensor]], Source]
"""Makes the source of a unit from the unit's name and tensors."""


@attrs.define(eq=False)
class _Swapped:
    """A unit, its source, and its slot while it computes."""

    name: str
    module: nn.Module
    tensors: tuple[Tensor, ...]
    source: Source
    slot: Slot | None = None

    def point_at(self, views: Sequence[Tensor]) -> None:
        for tensor, view in zip(self.tensors, views, strict=True):
            tensor.data = view

    def is_settled(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these are the unit's tensors, and where they were put."""
        home = self.source.home()
        return len(tensors) == len(home) and all(
            a is b and b.data_ptr() == h.data_ptr() and (b.dtype, b.shape) == (h.dtype, h.shape)
            for a, b, h in zip(self.tensors, tensors, home, strict=True)
        )


class BlockSwap:
    """Units that take turns in a few slots.

    Units are used by calling their modules, in any order; the nearer that is to the order of the stack, over
    and over, the more of the copying is hidden. What is not swapped has to be on the device already. It is for
    inference: weights leave their slots, so nothing is left to compute gradients with. What a forward pass
    writes into a swapped unit's buffers is lost; that is what :class:`wan_core.contract.State` is for.

    Args:
        stack: the model.
        swapped: names of the units that are swapped; they move to their sources at once. Of tables (see
            :class:`BlockStack`), those that stay where they are instead of coming to the device.
        prefetch: units that are on their way while one computes; 0 = each is copied when it is called.
        copier: the device.
        provider: where the units are kept; by default in host memory, half of which may be pinned.
        from_host: what is not swapped lies in host memory, too, and is on the device only while swapping is
            active. Otherwise it has to be there already.
        tell: hears of every use of a unit, once it is over.

    Attributes:
        copies: units copied so far.
        copied_bytes: and their bytes.

    Raises:
        ValueError: there is no unit of a name, ``prefetch`` is negative, or a tensor cannot be swapped: it has
            no memory yet, consists of several, was made in inference mode, or belongs to others, too.
    """

    def __init__(
        self,
        stack: BlockStack,
        swapped: Collection[str],
        prefetch: int,
        copier: Copier,
        *,
        provider: Provider | None = None,
        from_host: bool = False,
        tell: Callable[[UnitTimes], None] | None = None,
    ) -> None:
        self.copies = self.copied_bytes = 0
        self._stack = stack
        self._names, self._tables = self._in_order(swapped)
        self._prefetch = prefetch
        self._copier = copier
        self._provider = provider or HostMemory()
        self._from_host = from_host
        self._guests = Guests(copier.device)
        self._meter = Meter(copier, tell)
        self._known: dict[str, _Swapped] = {}
        self._units: list[_Swapped] = []
        self._pool: SlotPool | None = None
        self._active = ExitStack()
        slot_count(len(self._names), prefetch)
        self.settle()

    @property
    def swapped(self) -> tuple[str, ...]:
        """Names of the units that are swapped, in their order, and of tables that stay in host memory."""
        return (*self._names, *self._tables)

    @property
    def is_active(self) -> bool:
        """Whether units are being swapped now."""
        return self._pool is not None

    def report_to(self, tell: Callable[[UnitTimes], None] | None) -> None:
        """Who hears of every use of a unit from now on, once it is over; None = nobody."""
        self._meter.tell = tell

    @property
    def traffic(self) -> Traffic:
        """What has travelled, and how long that took, up to the last end of :meth:`active`."""
        measured = self._meter.traffic
        return Traffic(self.copies, self.copied_bytes, measured.copying, measured.waiting)

    @property
    def prefetch(self) -> int:
        """Units that are on their way while one computes. May be changed between steps."""
        return self._prefetch

    @prefetch.setter
    def prefetch(self, prefetch: int) -> None:
        count = slot_count(len(self._units), prefetch)
        if self._pool is not None:
            self._pool.resize(count)
        self._prefetch = prefetch

    @property
    def slot_bytes(self) -> int:
        """Bytes of a slot: those of the largest swapped unit."""
        return max((unit.source.packing.bytes for unit in self._units), default=0)

    @property
    def device_bytes(self) -> int:
        """Bytes that the model takes on the device while swapping is active: slots and what is not swapped."""
        staying = {id(tensor): aligned(tensor.nbytes) for tensor in self._staying()}
        return sum(staying.values()) + self.slot_bytes * slot_count(
            len(self._units), self._prefetch
        )

    def settle(self) -> None:
        """Bring units whose tensors are not those that were swapped (LoRA came or went) to new sources.

        Raises:
            RuntimeError: swapping is active.
            ValueError: a tensor cannot be swapped; units before it are settled.
        """
        if self._pool is not None:
            raise RuntimeError("units cannot change while they are swapped")
        modules = {unit.name: unit.module for unit in self._stack.units()}
        tensors = {name: tensors_of(modules[name]) for name in self._names}
        self._refuse_shared(tensors)
        self._units = [
            self._settled(name, modules[name], tuple(tensors[name].values()))
            for name in self._names
        ]

    @torch.inference_mode(False)
    def place_rest(self) -> None:
        """Move the units that are not swapped, and what belongs to no unit, to the device for good."""
        for tensor in self._staying():
            tensor.data = tensor.data.to(self._copier.device)

    def change(self, swapped: Collection[str] | None = None, prefetch: int | None = None) -> None:
        """Swap other units, or have others on their way, from now on; between two calls of units.

        Bits stay what they are. Units are copied from their sources, so nothing is read or made anew; where
        there is no ``from_host``, units that were on the device move to sources now.

        Raises:
            ValueError: there is no unit of a name, or ``prefetch`` is negative; nothing has changed then.
            RuntimeError: a unit computes.
            torch.OutOfMemoryError: the device has no room; units are swapped as asked, but not active.
        """
        asked = self.swapped if swapped is None else swapped
        names, tables = self._in_order(asked)
        prefetch = self._prefetch if prefetch is None else prefetch
        slot_count(len(names), prefetch)
        if any(unit.slot is not None for unit in self._units):
            raise RuntimeError("what is swapped cannot change while a unit computes")
        with self.paused():
            leaving = set(self._names) - set(names)
            self._names, self._tables, self._prefetch = names, tables, prefetch
            self.settle()
            if not self._from_host:
                units = [unit for unit in self._stack.units() if unit.name in leaving]
                for tensor in (t for unit in units for t in tensors_of(unit.module).values()):
                    tensor.data = tensor.data.to(self._copier.device)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Until the context ends nothing is swapped: units may be compiled or given other tensors."""
        was_active = self._pool is not None
        self.close()
        try:
            yield
        finally:
            if was_active:
                self.open()

    @contextmanager
    def active(self) -> Iterator[None]:
        """While the context lasts, swapped units compute on the device.

        However it ends, units are in host memory and the slots are given back afterwards.

        Raises:
            RuntimeError: it is active already; from a unit's call, when gradients are asked for.
        """
        self.open()
        try:
            yield
        finally:
            self.close()

    def open(self) -> None:
        """Begin what :meth:`active` is the region of.

        Raises:
            RuntimeError: it is active already.
        """
        if self._pool is not None:
            raise RuntimeError("these units are being swapped already")
        self.settle()
        with ExitStack() as undo:
            if self._from_host:
                undo.callback(self._guests.withdraw)
                self._guests.bring(self._staying())
            slots = slot_count(len(self._units), self._prefetch)
            pool = SlotPool(self._copier, self.slot_bytes, slots)
            undo.callback(pool.close)
            for index, unit in enumerate(self._units):
                begin, end = partial(self._begin, pool, index), partial(self._end, pool, index)
                undo.enter_context(around(unit.module, begin, end))
            self._active = undo.pop_all()
            self._pool = pool

    def close(self) -> None:
        """End it; nothing where it is not active."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        self.copies += pool.copies
        self.copied_bytes += pool.copied_bytes
        # all are there already, unless an interruption came between two lines
        for unit in self._units:
            unit.slot = None
            unit.point_at(unit.source.home())
        self._active.close()
        self._meter.finish()

    def _begin(self, pool: SlotPool, index: int) -> None:
        """Before a unit's call: have it there, and those that follow on their way."""
        unit = self._units[index]
        if torch.is_grad_enabled():
            raise RuntimeError("there are no gradients through swapped units: use torch.no_grad()")
        count = len(self._units)
        wanted = [self._units[(index + ahead) % count] for ahead in range(len(pool.slots))]
        keep = {one.name for one in wanted}
        slot = pool.holding(unit.name) or pool.load(unit.source, keep)
        if slot is None:
            raise RuntimeError(f"{unit.name} is called within other units, and no slot is left")
        pool.use(slot)
        unit.slot = slot
        try:
            for one in wanted[1:]:
                if pool.holding(one.name) is None:
                    pool.load(one.source, keep)
            unit.point_at(slot.views(unit.source))
        except BaseException:
            self._end(pool, index)
            raise

    def _end(self, pool: SlotPool, index: int) -> None:
        """After a unit's call, however it ended."""
        unit = self._units[index]
        unit.point_at(unit.source.home())
        if unit.slot is not None:
            self._meter.used(unit.slot)
            pool.done(unit.slot)
        unit.slot = None

    def _in_order(self, swapped: Collection[str]) -> tuple[list[str], list[str]]:
        """Those of them that are units, and those that are tables."""
        names = [unit.name for unit in self._stack.units()]
        tables = tables_of(self._stack)
        unknown = sorted(set(swapped) - {*names, *tables})
        if unknown:
            raise ValueError(f"there are no units {', '.join(unknown)}")
        return [n for n in names if n in set(swapped)], [n for n in tables if n in set(swapped)]

    def _staying(self) -> list[Tensor]:
        """What is on the device as a whole: units that are not swapped, and what belongs to no unit."""
        others = [unit for unit in self._stack.units() if unit.name not in self._names]
        tensors = [tensor for unit in others for tensor in tensors_of(unit.module).values()]
        away = tuple(f"{name}." for name in self._tables)
        return tensors + [t for name, t in self._stack.rest().items() if not name.startswith(away)]

    def _settled(self, name: str, module: nn.Module, tensors: tuple[Tensor, ...]) -> _Swapped:
        known = self._known.get(name)
        if known is not None and known.module is module and known.is_settled(tensors):
            return known
        unit = _Swapped(name, module, tensors, self._provider(name, tensors))
        unit.point_at(unit.source.home())
        self._known[name] = unit
        return unit

    def _refuse_shared(self, swapped: dict[str, dict[str, Tensor]]) -> None:
        """A tensor is in one place at a time, so it cannot belong to two units, or to one and the rest."""
        owners = {id(tensor): "the rest" for tensor in self._stack.rest().values()}
        for unit in self._stack.units():
            for name, tensor in [*unit.module.named_parameters(), *unit.module.named_buffers()]:
                owner = owners.setdefault(id(tensor), unit.name)
                if owner != unit.name and {owner, unit.name} & swapped.keys():
                    raise ValueError(f"{owner} and {unit.name} share {name}, it cannot be swapped")
