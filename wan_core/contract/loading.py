"""What loaders are handed, and where stages get what they load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from wan_core.contract.conditioning import NOTHING
from wan_core.contract.descriptions import Component
from wan_core.contract.loras import LoraUse
from wan_core.contract.placement import RESIDENT, Placement
from wan_core.contract.quantization import Quantization

if TYPE_CHECKING:
    import torch


@attrs.frozen
class LoadRequest:
    """A component to be loaded.

    Attributes:
        slot: name of the slot (``"transformer"``).
        component: its description.
        file: the file that fills it; None when the component makes its own weights.
        device, dtype: where and in which precision it is wanted.
        options: companion files of the ``[model]`` table (``tokenizer``).
        dialects: :class:`wan_core.weights.Dialect` objects that plugins bring for this kind of component.
        loras: LoRA files that are merged into this component, in order; only where it takes some.
        apart: those that are kept apart, in order; only where it can keep them. The component, or the stack
            that it wraps, then has an attribute ``loras``, a :class:`wan_core.weights.lora.KeptApart`, whose
            ``assign`` is called for each stage.
        quantization: how it is quantised while it is loaded; only of components that say they can be.
        placement: where its units lie while it works. Where some are swapped, ``device`` is the CPU: all of it
            is loaded there, and the engine does the rest.
        keep: takes units that are swapped as soon as they are loaded (see :func:`wan_core.weights.load_into`),
            so that they are never in memory twice; a loader may do without. None where nothing is swapped.
    """

    slot: str
    component: Component
    file: Path | None
    device: torch.device
    dtype: torch.dtype
    options: Mapping[str, Any] = NOTHING
    dialects: tuple[Any, ...] = ()
    loras: tuple[LoraUse, ...] = ()
    apart: tuple[LoraUse, ...] = ()
    quantization: Quantization | None = None
    placement: Placement = RESIDENT
    keep: Any = None

    @property
    def computes(self) -> torch.device:
        """Where it will compute: ``device``, but for a component whose units are swapped."""
        device: torch.device = self.keep.device if self.keep else self.device
        return device


class Components(Protocol):
    """Access to the loaded components of a stage's model; loading happens on first use."""

    def get(self, slot: str) -> Any:
        """The component, resident on its device."""
        ...

    def release(self, slot: str) -> None:
        """Say that the component is not needed any more in this stage."""
        ...

    def details(self, slot: str) -> Mapping[str, Any]:
        """Sizes that its file's header shows (``"dim"``), without loading it; ``{}`` where there is no file."""
        ...
