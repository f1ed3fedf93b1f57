"""The components of a planned model, loaded on first use and shared between stages and runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from wan_core.contract.errors import ResourceError
from wan_core.contract.lazy import resolve
from wan_core.contract.quantization import Quantization
from wan_core.contract.requests import LoadRequest
from wan_core.contract.text import slot_in_words
from wan_core.memory import Ledger, Residency, gigabytes
from wan_core.planning import Plan, PlannedModel
from wan_core.plugins import Plugins


class ModelComponents:
    """What a stage sees of its model (protocol ``Components``).

    Two plans that name the same file in the same slot, device and precision share the component.
    """

    def __init__(
        self,
        plan: Plan,
        model: PlannedModel,
        plugins: Plugins,
        residency: Residency,
        ledger: Ledger,
        stage: str,
    ) -> None:
        self.plan = plan
        self.model = model
        self._plugins = plugins
        self._residency = residency
        self._ledger = ledger
        self._stage = stage
        self._held: dict[str, Any] = {}

    def get(self, slot: str) -> Any:
        if slot not in self._held:
            title = f"{self.model.family.name} {slot_in_words(slot)}"
            size = self.model.resident_bytes(slot)
            self._held[slot] = self._residency.acquire(
                self._key(slot),
                title,
                size,
                lambda: self._load(slot),
                headroom=self.plan.headroom(self._stage, self.model, slot),
            )
        # in every call: a component is shared with stages that want other strengths
        if strengths := self.model.strengths(slot, self._stage):
            with self.attributed():
                self._held[slot].loras.assign(strengths)
        return self._held[slot]

    def release(self, slot: str) -> None:
        if self._held.pop(slot, None) is not None:
            self._residency.release(self._key(slot))

    def details(self, slot: str) -> Mapping[str, Any]:
        file = self.model.files.get(slot)
        return file.identity.details if file else {}

    def attributed(self) -> AbstractContextManager[None]:
        """A region that runs the model's code: what goes wrong in it is told as its plugin's."""
        return self._plugins.attributed(self.model.family)

    def close(self) -> None:
        """Release everything this stage still uses; it stays resident while there is room."""
        for slot in list(self._held):
            self.release(slot)

    def _key(self, slot: str) -> Hashable:
        file = self.model.files.get(slot)
        uses_tokenizer = slot == "text_encoder"
        return (
            slot,
            self.model.family.name,
            file.fingerprint if file else None,
            self.model.tokenizer.fingerprint if uses_tokenizer and self.model.tokenizer else None,
            self.model.device,
            self.model.dtype,
            tuple(lora.key for lora in self.model.loras_of(slot)),
            tuple(lora.key for lora in self.model.apart_of(slot)),
            self._quantization(slot),
        )

    def _quantization(self, slot: str) -> Quantization | None:
        can = self.model.family.components[slot].quantises
        return self.model.quantization if can else None

    def _load(self, slot: str) -> Any:
        component = self.model.family.components[slot]
        file = self.model.files.get(slot)
        request = LoadRequest(
            slot=slot,
            component=component,
            file=file.path if file else None,
            device=torch.device(self.model.device),
            dtype=getattr(torch, self.model.dtype),
            options=dict(self.model.companions),
            dialects=self.model.dialects.get(slot, ()),
            loras=tuple(lora.use for lora in self.model.loras_of(slot)),
            apart=tuple(lora.use for lora in self.model.apart_of(slot)),
            quantization=self._quantization(slot),
        )
        with self._ledger.task(self._stage, f"loading {slot_in_words(slot)}"):
            try:
                with self.attributed():
                    loaded = resolve(component.load)(request)
                    if loaded is None:
                        raise TypeError(f"the loader of {slot} returned nothing")
                return loaded
            except torch.OutOfMemoryError as error:
                raise ResourceError(
                    f"{self.model.device} has no room for the {slot} "
                    f"({gigabytes(self.model.resident_bytes(slot))})",
                    remedy="use a smaller precision or model",
                ) from error
