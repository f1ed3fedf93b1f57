"""The components of a planned model, loaded on first use and shared between stages and runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import attrs
import torch

from wan_core.contract.lazy import resolve
from wan_core.contract.loading import LoadRequest
from wan_core.contract.placement import RESIDENT, Placement
from wan_core.contract.text import slot_in_words
from wan_core.engine.compiling import Compiled, compiled
from wan_core.engine.ladder import Abilities
from wan_core.engine.pieces import abilities, to_cpu, work_as
from wan_core.engine.recovery import Recovery
from wan_core.engine.swapping import HostComponents, HostSizes, Load, SwappedUse, into_host_memory
from wan_core.memory import Keeper, Ledger, Residency, loras_of
from wan_core.planning import Plan, PlannedModel
from wan_core.planning.placing import device_bytes
from wan_core.planning.sharing import compiles, key_of, quantization_of
from wan_core.plugins import Plugins


class ModelComponents:
    """What a stage sees of its model (protocol ``Components``).

    Models, of one plan or of several, that have a component in common share it: see
    :mod:`wan_core.planning.sharing`.
    """

    def __init__(
        self,
        plan: Plan,
        model: PlannedModel,
        plugins: Plugins,
        residencies: Mapping[str, Residency],
        host: HostComponents,
        ledger: Ledger,
        stage: str,
        recovery: Recovery | None = None,
    ) -> None:
        self.plan = plan
        self.model = model
        self._plugins = plugins
        self._residencies = residencies
        self._host = host
        self._ledger = ledger
        self._stage = stage
        self._recovery = recovery or Recovery(ledger.tell, ledger, plan)
        self._held: dict[str, Any] = {}
        self._keys: dict[str, tuple[Residency, Hashable]] = {}
        self._planned_keys: dict[str, Hashable] = {}
        self._compiled: list[tuple[str, Compiled]] = []
        self._swapped: dict[str, SwappedUse] = {}

    def get(self, slot: str) -> Any:
        if slot not in self._held:
            acquire = partial(self._acquire, slot)
            # what a run can do without takes no room from the rest: who asked for it is told
            optional = self.model.family.components[slot].optional
            held = acquire() if optional else self._recovery.persist(acquire, [self], slot)
            watched = Compiled.of(held, self._tell_of_compiling)
            # loaded once more when a stage is repeated, it is compiled once more
            if watched and all(watched.compiling is not one.compiling for _, one in self._compiled):
                self._compiled.append((slot, watched))
        elif slot in self._swapped and not self._swapped[slot].component.swap.is_active:
            # it has found no room when it was changed, and something else has made some since
            self._recovery.persist(partial(self.place, slot, self.placement(slot)), [self])
        self._held[slot] = self._held.pop(slot)  # the latest used is the last
        # in every call: a component is shared with stages that want other strengths, and other pieces
        work_as(self._held[slot], self.placement(slot))
        if strengths := self.model.strengths(slot, self._stage):
            with self.attributed():
                loras = loras_of(self._held[slot])
                if loras is None:
                    raise TypeError(f"the loader of {slot} has not kept its LoRA files")
                loras.assign(strengths)
        return self._held[slot]

    def release(self, slot: str) -> None:
        if self._held.pop(slot, None) is None:
            return
        residency, key = self._keys.pop(slot)
        if slot in self._swapped:
            self._swapped.pop(slot).end()
        else:
            residency.release(key)

    @property
    def in_use(self) -> tuple[str, ...]:
        """Slots of the components that are in use, the latest used first."""
        return tuple(reversed(self._held))

    def is_swapped(self, slot: str) -> bool:
        """Whether units of the component are swapped."""
        return bool(self.placement(slot).swapped)

    def placement(self, slot: str) -> Placement:
        """Where the component works: as planned, unless memory has run out."""
        planned = self.model.placements.get(slot, RESIDENT)
        changed = self._recovery.placements
        if not changed or slot not in self.model.family.components:
            return planned
        return changed.get(self._planned_key(slot), planned)

    def abilities(self, slot: str) -> Abilities:
        """What could be done for the component to take less memory."""
        may_leave = slot not in self.model.family.slots("transformer")
        if slot not in self._held:
            sizes = self.model.sizes.get(slot)
            units, parts = (list(sizes.units), list(sizes.parts)) if sizes else ([], [])
            return Abilities(units, parts, cpu=may_leave)
        inexact = self._recovery.allows_inexact
        found = abilities(self._held[slot], may_leave=may_leave, inexact=inexact)
        residency, key = self._keys[slot]
        others = residency.users(key) > 1 or self._host.residency.users(self._swapped_key(slot))
        if slot not in self._swapped and others:
            return attrs.evolve(found, units=(), parts=())  # others count on it being where it is
        return found

    def drop_idle(self) -> list[str]:
        """Let what nobody uses leave the model's device; returns what that was, in plain words."""
        return self._residencies[self.model.device].drop_idle()

    def place(self, slot: str, placement: Placement) -> None:
        """Give a component another placement for the rest of the run, at once where it is in use.

        More or fewer units may be swapped between two of its steps; bits stay what they are.

        Raises:
            ResourceError: host memory has no room for what is to lie there.
            torch.OutOfMemoryError: the device has no room; another call with less may follow.
        """
        before = self.placement(slot)
        self._recovery.placements[self._planned_key(slot)] = placement
        if slot not in self._held:
            return
        work_as(self._held[slot], placement)
        if placement.device != before.device:
            self._move_to_cpu(slot)
        elif slot in self._swapped:
            use = self._swapped[slot]
            use.change(placement.swapped, placement.prefetch)
        elif placement.swapped:
            self._swap_resident(slot)

    def changing(self, slot: str) -> AbstractContextManager[None]:
        """A region in which units of a component that is in use may be compiled or given other tensors."""
        use = self._swapped.get(slot)
        return use.changing() if use else nullcontext()

    def _acquire(self, slot: str) -> Any:
        headroom = self.plan.headroom(self._stage, self.model, slot)
        if self.placement(slot).swapped:
            use = self._swap(slot, partial(self._load, slot))
            use.begin(headroom)
            self._swapped[slot] = use
            self._held[slot] = use.component.value
        else:
            self._hold(slot, partial(self._load, slot), headroom)
        if self._keys[slot][1] != self._planned_place(slot):
            self._recovery.until_the_end(*self._keys[slot])
        return self._held[slot]

    def _hold(self, slot: str, load: Callable[[], Any], headroom: int) -> None:
        """Have a component resident as a whole."""
        residency, key = self._residency(slot), self._key(slot)
        size, title = self.model.weight_bytes(slot), self._title(slot)
        self._held[slot] = residency.acquire(key, title, size, load, headroom=headroom)
        self._keys[slot] = residency, key

    def _swap(self, slot: str, load: Load) -> SwappedUse:
        """Have a component in host memory, from where its units are swapped."""
        key, title, device = self._swapped_key(slot), self._title(slot), self._device(slot)
        component = self._host.acquire(
            key, title, self._host_sizes(slot, device), self.placement(slot), device, load
        )
        self._keys[slot] = self._host.residency, key
        return SwappedUse(component, key, title, self._host, self._residency(slot), self._ledger)

    def _host_sizes(self, slot: str, device: str) -> HostSizes:
        """What a component takes where it is swapped from; without a GPU what it does is in the same memory."""
        size, sizes, placement = (
            self.model.weight_bytes(slot),
            self.model.sizes.get(slot),
            self.placement(slot),
        )
        if sizes is None:
            return HostSizes(size)
        beside = 0
        if device == "cpu":
            beside = device_bytes(sizes, placement) + self.plan.headroom(
                self._stage, self.model, slot
            )
        return HostSizes(size, tuple(sizes.movable), sizes.outside + sizes.buffers, beside)

    def _swap_resident(self, slot: str) -> None:
        """From now on units of a component that is resident are swapped."""
        residency, key = self._keys[slot]
        residency.drop(key)
        value = self._held[slot]
        # an earlier run may have left another copy there
        self._host.residency.drop(self._swapped_key(slot))
        use = self._swap(slot, lambda keeper: into_host_memory(value, keeper))
        self._swapped[slot] = use
        self._recovery.until_the_end(*self._keys[slot])
        use.take_over(self.plan.headroom(self._stage, self.model, slot))

    def _move_to_cpu(self, slot: str) -> None:
        """From now on a component computes on the CPU; the object stays, for those who have it."""
        value = self._held[slot]
        residency, key = self._keys[slot]
        self.release(slot)
        residency.drop(key)
        to_cpu(value)
        # likewise
        self._residency(slot).drop(self._key(slot))
        self._hold(slot, lambda: value, 0)
        self._recovery.until_the_end(*self._keys[slot])

    def details(self, slot: str) -> Mapping[str, Any]:
        file = self.model.files.get(slot)
        return file.details if file else {}

    @property
    def falls_back(self) -> bool:
        """Whether something was to be compiled and is not."""
        return any(one.compiling.failure for _, one in self._compiled)

    def compile_summary(self) -> list[str]:
        """What compiling took, a line a component."""
        told = ((slot, one.summary()) for slot, one in self._compiled)
        return [f"{slot_in_words(slot)}: {line}" for slot, line in told if line]

    def attributed(self) -> AbstractContextManager[None]:
        """A region that runs the model's code: what goes wrong in it is told as its plugin's."""
        return self._plugins.attributed(self.model.family)

    def close(self) -> None:
        """Release everything this stage still uses; it stays resident while there is room."""
        for slot in list(self._held):
            self.release(slot)

    def _tell_of_compiling(self, text: str, level: str) -> None:
        """A failure is a recovery; the rest is news."""
        if level == "info":
            self._ledger.note(text)
        else:
            what, _, why = text.partition(", so ")
            self._recovery.report(self._stage, self._ledger.doing[1], what, why, exact=False)

    def _device(self, slot: str) -> str:
        return self.placement(slot).device or self.model.device

    def _residency(self, slot: str) -> Residency:
        return self._residencies[self._device(slot)]

    def _title(self, slot: str) -> str:
        return f"{self.model.family.name} {slot_in_words(slot)}"

    def _key(self, slot: str) -> Hashable:
        return key_of(self.model, slot, self._device(slot))

    def _planned_key(self, slot: str) -> Hashable:
        """What the component is where it was planned to be: the same for all models that share it."""
        if slot not in self._planned_keys:  # it is asked for in every step
            self._planned_keys[slot] = key_of(self.model, slot)
        return self._planned_keys[slot]

    def _swapped_key(self, slot: str) -> Hashable:
        return (self._key(slot), "swapped")

    def _planned_place(self, slot: str) -> Hashable:
        """Under which key the component lies in a run that has memory enough."""
        planned = self.model.placements.get(slot, RESIDENT)
        key = key_of(self.model, slot, planned.device)
        return (key, "swapped") if planned.swapped else key

    def _load(self, slot: str, keep: Keeper | None = None) -> Any:
        component = self.model.family.components[slot]
        file = self.model.files.get(slot)
        request = LoadRequest(
            slot=slot,
            component=component,
            file=file.path if file else None,
            device=torch.device("cpu" if keep else self._device(slot)),
            dtype=getattr(torch, self.model.dtype),
            options=dict(self.model.companions),
            dialects=self.model.dialects.get(slot, ()),
            loras=tuple(lora.use for lora in self.model.loras_of(slot)),
            apart=tuple(lora.use for lora in self.model.apart_of(slot)),
            quantization=quantization_of(self.model, slot),
            placement=self.placement(slot),
            keep=keep,
        )
        with self._ledger.task(self._stage, f"loading {slot_in_words(slot)}"):
            with self.attributed():
                loaded = resolve(component.load)(request)
                if loaded is None:
                    raise TypeError(f"the loader of {slot} returned nothing")
            if compiles(self.model, slot):
                compiled(loaded, request.computes)
            return loaded
