"""The components of a planned model, loaded on first use and shared between stages and runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from wan_core.contract.errors import ResourceError
from wan_core.contract.lazy import resolve
from wan_core.contract.placement import RESIDENT, Placement
from wan_core.contract.quantization import Quantization
from wan_core.contract.requests import LoadRequest
from wan_core.contract.text import slot_in_words
from wan_core.engine.compiling import Compiled, compiled
from wan_core.engine.swapping import HostComponents, SwappedUse
from wan_core.memory import Keeper, Ledger, Residency, gigabytes, loras_of
from wan_core.planning import Plan, PlannedModel
from wan_core.plugins import Plugins
from wan_core.weights.described import can_be_quantised


class ModelComponents:
    """What a stage sees of its model (protocol ``Components``).

    Two plans that name the same file in the same slot, device and precision share the component.
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
    ) -> None:
        self.plan = plan
        self.model = model
        self._plugins = plugins
        self._residencies = residencies
        self._host = host
        self._ledger = ledger
        self._stage = stage
        self._held: dict[str, Any] = {}
        self._compiled: dict[str, Compiled] = {}
        self._swapped: dict[str, SwappedUse] = {}

    def get(self, slot: str) -> Any:
        if slot not in self._held:
            headroom = self.plan.headroom(self._stage, self.model, slot)
            if self._placement(slot).swapped:
                self._held[slot] = self._swap(slot, headroom)
            else:
                self._held[slot] = self._residency(slot).acquire(
                    self._key(slot),
                    self._title(slot),
                    self.model.resident_bytes(slot),
                    lambda: self._load(slot),
                    headroom=headroom,
                )
            watched = Compiled.of(self._held[slot], self._ledger.note)
            if watched and slot not in self._compiled:
                self._compiled[slot] = watched
        # in every call: a component is shared with stages that want other strengths
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
        if slot in self._swapped:
            self._swapped.pop(slot).end()
        else:
            self._residency(slot).release(self._key(slot))

    def is_swapped(self, slot: str) -> bool:
        """Whether the plan swaps units of the component."""
        return bool(self._placement(slot).swapped)

    def swap_others(self, slot: str, swapped: tuple[str, ...], prefetch: int) -> None:
        """Swap other units of a component that is in use and swapped, between two of its steps.

        Bits stay what they are; what is on the device shrinks or grows, and its residency knows.

        Raises:
            ValueError: there is no unit of a name, or ``prefetch`` is negative; nothing has changed then.
            torch.OutOfMemoryError: the device has no room; another call with less may follow.
        """
        self._swapped[slot].change(swapped, prefetch)

    def changing(self, slot: str) -> AbstractContextManager[None]:
        """A region in which units of a component that is in use may be compiled or given other tensors."""
        use = self._swapped.get(slot)
        return use.changing() if use else nullcontext()

    def _swap(self, slot: str, headroom: int) -> Any:
        placement, device = self._placement(slot), self._device(slot)
        key, title = (*self._key(slot), "swapped"), self._title(slot)
        size = self.model.weight_bytes(slot)
        component = self._host.acquire(
            key, title, size, placement, device, lambda keep: self._load(slot, keep)
        )
        use = SwappedUse(component, key, title, self._host, self._residency(slot), self._ledger)
        use.begin(headroom)
        self._swapped[slot] = use
        return component.value

    def details(self, slot: str) -> Mapping[str, Any]:
        file = self.model.files.get(slot)
        return file.identity.details if file else {}

    @property
    def falls_back(self) -> bool:
        """Whether something was to be compiled and is not."""
        return any(one.compiling.failure for one in self._compiled.values())

    def compile_summary(self) -> list[str]:
        """What compiling took, a line a component."""
        told = ((slot, one.summary()) for slot, one in self._compiled.items())
        return [f"{slot_in_words(slot)}: {line}" for slot, line in told if line]

    def attributed(self) -> AbstractContextManager[None]:
        """A region that runs the model's code: what goes wrong in it is told as its plugin's."""
        return self._plugins.attributed(self.model.family)

    def close(self) -> None:
        """Release everything this stage still uses; it stays resident while there is room."""
        for slot in list(self._held):
            self.release(slot)

    def _placement(self, slot: str) -> Placement:
        return self.model.placements.get(slot, RESIDENT)

    def _device(self, slot: str) -> str:
        return self._placement(slot).device or self.model.device

    def _residency(self, slot: str) -> Residency:
        return self._residencies[self._device(slot)]

    def _title(self, slot: str) -> str:
        return f"{self.model.family.name} {slot_in_words(slot)}"

    def _key(self, slot: str) -> tuple[Hashable, ...]:
        file = self.model.files.get(slot)
        uses_tokenizer = slot == "text_encoder"
        return (
            slot,
            self.model.family.name,
            file.fingerprint if file else None,
            self.model.tokenizer.fingerprint if uses_tokenizer and self.model.tokenizer else None,
            self._device(slot),
            self.model.dtype,
            tuple(lora.key for lora in self.model.loras_of(slot)),
            tuple(lora.key for lora in self.model.apart_of(slot)),
            self._quantization(slot),
            self._compiles(slot),
        )

    def _compiles(self, slot: str) -> bool:
        return self.model.compile and slot in self.model.family.slots("transformer")

    def _quantization(self, slot: str) -> Quantization | None:
        can = can_be_quantised(self.model.family.components[slot])
        return self.model.quantization if can else None

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
            quantization=self._quantization(slot),
            placement=self._placement(slot),
            keep=keep,
        )
        with self._ledger.task(self._stage, f"loading {slot_in_words(slot)}"):
            try:
                with self.attributed():
                    loaded = resolve(component.load)(request)
                    if loaded is None:
                        raise TypeError(f"the loader of {slot} returned nothing")
                if self._compiles(slot):
                    compiled(loaded, request.computes)
                return loaded
            except torch.OutOfMemoryError as error:
                raise ResourceError(
                    f"{self.model.device} has no room for the {slot} "
                    f"({gigabytes(self.model.resident_bytes(slot))})",
                    remedy="use a smaller precision or model",
                ) from error
