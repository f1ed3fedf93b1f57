"""Weights that LoRA files make wider while they are loaded: the patch embedding, by control LoRAs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Family
from wan_core.planning.files import PlannedFile, Widened, unlike
from wan_core.planning.fitting import bundled
from wan_core.planning.loras import PlannedLora
from wan_core.weights import open_weights, printable
from wan_core.weights.described import lora_targets, takes_loras

__all__ = ["holds_loras", "widened"]


def widened(
    family: Family,
    files: Mapping[str, PlannedFile],
    loras: Sequence[PlannedLora],
    dialects: Mapping[str, tuple[Any, ...]],
    where: Callable[[str], str],
) -> dict[str, PlannedFile]:
    """The files with what LoRA files widen of them.

    Args:
        files: of the model's slots.
        loras: those of the family and of the model, in any order.
        dialects: slot -> dialects that plugins bring.
        where: turns a slot into file, line and key, for messages.

    Raises:
        WeightsError: a file is narrower than its family, and no LoRA file makes up for it.
    """
    found = dict(files)
    for slot in family.slots("transformer"):
        if slot not in files or not takes_loras(family.components[slot]):
            continue
        file = files[slot]
        source = open_weights(file.path)
        targets = lora_targets(family.components[slot], source, dialects.get(slot, ()))
        wider = []
        for weight, inputs in targets.widened.items():
            stored, key = targets.shapes[weight][1], targets.widens[weight]
            if not any(weight in lora.widens.get(slot, ()) for lora in loras):
                raise unlike(family, file.path, file.identity, (key, stored, inputs), where(slot))
            wider.append(Widened(weight, key, inputs, stored))
        more = sum(
            prod(targets.shapes[w.weight]) // w.stored * (w.inputs - w.stored) for w in wider
        )
        found[slot] = attrs.evolve(file, widened=tuple(wider), elements=file.elements + more)
    return found


def holds_loras(
    family: Family, files: Mapping[str, PlannedFile], dialects: Mapping[str, tuple[Any, ...]]
) -> str:
    """The file of the user's in which the family's own LoRA files are merged already; "" = in none.

    It shows where one of them widens: such a file is as wide as they make the one that comes with the family.
    """

    def narrow(slot: str, path: Path) -> bool:
        component = family.components[slot]
        return bool(lora_targets(component, open_weights(path), dialects.get(slot, ())).widened)

    for slot in family.slots("transformer") if family.loras else ():
        own, file = family.components[slot].bundled, files.get(slot)
        if not own or not file or file.path == (comes_with := bundled(own)):
            continue
        if narrow(slot, comes_with) and not narrow(slot, file.path):
            return printable(file.path.name)
    return ""
