"""The weights that LoRA files may change, found under any spelling of their names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from wan_core.weights.dialects import Dialect
from wan_core.weights.kinds.lora import flat

__all__ = ["LoraTargets"]

_LEAVES = (".weight", ".bias")


class LoraTargets:
    """A model's tensors, to be found by what a LoRA file calls their modules.

    Flattened names (``blocks_0_cross_attn_k_img``) can't be split again, so the flattened form of every
    name of the model is made instead, in each dialect.

    Args:
        shapes: official names -> shapes.
        dialects: further ways of naming them (diffusers).
        widens: official names of weights ``[outputs, inputs, …]`` that files may give more inputs, as control
            LoRAs do -> the key of the component's configuration that says how many there are (``"in_dim"``).

    Attributes:
        shapes: as given; of a weight that is to be widened, as it is in the file.
        widens: as given.
        inputs: name of such a weight -> inputs that the family's has.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dialects: Iterable[Dialect] = (),
        *,
        widens: Mapping[str, str] | None = None,
    ) -> None:
        self.shapes = shapes
        self.widens = {name: key for name, key in (widens or {}).items() if name in shapes}
        self.inputs = {name: shapes[name][1] for name in self.widens}
        self._modules: dict[str, str] = {}
        self._bare: dict[str, str] = {}
        for name in shapes:
            self._add(name, name)
        for dialect in dialects:
            for name in shapes:
                self._add(name, dialect.from_official(name) or name)

    def of_family(self, config: Mapping[str, Any]) -> LoraTargets:
        """The same for a family whose component has this configuration."""
        if not self.widens:
            return self
        same = copy.copy(self)
        same.inputs = {
            name: config.get(self.widens[name]) or inputs for name, inputs in self.inputs.items()
        }
        return same

    @property
    def widened(self) -> dict[str, int]:
        """Weights that have more inputs in the family than in the file -> how many."""
        return {name: n for name, n in self.inputs.items() if n > self.shapes[name][1]}

    def knows(self, path: str) -> bool:
        """Whether the model has a module of that name."""
        return _spelled(path) in self._modules

    def find(self, path: str, leaf: str = "weight") -> str:
        """The official name of a module's tensor (``leaf``), or of the tensor that ``path`` is itself.

        Returns:
            ``""`` when the model has none.
        """
        spelled = _spelled(path)
        module = self._modules.get(spelled)
        name = f"{module}.{leaf}"
        if module is not None and name in self.shapes:
            return name
        return self._bare.get(spelled, "") if leaf == "weight" else ""

    def _add(self, official: str, spelled: str) -> None:
        for leaf in _LEAVES:
            if official.endswith(leaf) and spelled.endswith(leaf):
                module = official.removesuffix(leaf)
                self._modules.setdefault(flat(spelled.removesuffix(leaf)), module)
                return
        self._bare.setdefault(flat(spelled), official)
        owner = official.rpartition(".")[0]
        if official == spelled and owner:
            self._modules.setdefault(flat(owner), owner)


def _spelled(path: str) -> str:
    # what diffusers once wrote between an attention and its projections
    return flat(path).replace("_processor_", "_")
