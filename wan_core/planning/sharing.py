"""Components that models of a workflow have in common: equal in all that their loaders are told. No torch.

Two models of different families that name one text encoder, or one VAE, have it once: loaded once, in memory
once, and with one placement.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from wan_core.contract.quantization import Quantization
from wan_core.weights.described import can_be_quantised

if TYPE_CHECKING:
    from wan_core.planning.plan import PlannedModel

__all__ = [
    "compiles",
    "components_once",
    "identity_of",
    "key_of",
    "quantization_of",
    "shared",
    "together",
]


def identity_of(model: PlannedModel, slot: str) -> Hashable:
    """What a component is, wherever and in whatever precision it computes.

    Equal for two models whose files have one content as far as their fingerprints tell (two copies of a file
    are one; a single changed bit is not always seen) and whose loaders are told the same. What a family says of
    its component counts only where the file does not say it itself.
    """
    component, file = model.family.components[slot], model.files.get(slot)
    stated = file.identity.details if file else {}
    told = {key: value for key, value in component.config.items() if stated.get(key) != value}
    of_text = slot == "text_encoder" and model.tokenizer
    return (
        component.kind,
        component.load,
        component.stack,
        json.dumps(told, sort_keys=True, default=repr),
        file.fingerprint if file else None,
        model.tokenizer.fingerprint if of_text and model.tokenizer else None,
    )


def key_of(model: PlannedModel, slot: str, device: str | None = None) -> Hashable:
    """What a loaded component is: equal for all uses that it can serve.

    Args:
        device: where it computes; None = where its model does.
    """
    return (
        slot,
        identity_of(model, slot),
        device or model.device,
        model.dtype,
        tuple(lora.key for lora in model.loras_of(slot)),
        tuple(lora.key for lora in model.apart_of(slot)),
        quantization_of(model, slot),
        compiles(model, slot),
    )


def compiles(model: PlannedModel, slot: str) -> bool:
    """Whether the units of a component are compiled."""
    return model.compile and slot in model.family.slots("transformer")


def quantization_of(model: PlannedModel, slot: str) -> Quantization | None:
    """How a component is quantised while it is loaded; None = it is not."""
    return model.quantization if can_be_quantised(model.family.components[slot]) else None


def shared(one: PlannedModel, other: PlannedModel, slot: str) -> bool:
    """Whether two models have the component in common."""
    if one.name == other.name:
        return True
    if slot not in one.family.components or slot not in other.family.components:
        return False
    return key_of(one, slot) == key_of(other, slot)


def together(
    models: Mapping[str, PlannedModel], slot: str, names: Iterable[str] | None = None
) -> list[tuple[str, ...]]:
    """Names of models, those that have the component in common side by side, in their order.

    Args:
        names: of the models that count; None = all. Those without the component stand alone.
    """
    groups: list[tuple[str, ...]] = []
    for name in models if names is None else names:
        for index, group in enumerate(groups):
            if shared(models[group[0]], models[name], slot):
                groups[index] = (*group, name)
                break
        else:
            groups.append((name,))
    return groups


def components_once(
    models: Mapping[str, PlannedModel],
) -> Iterator[tuple[PlannedModel, str, str]]:
    """Each component once: the first model that has it, its slot, its places (``"main.vae, other.vae"``)."""
    for model in models.values():
        for slot in model.family.components:
            users = [one.name for one in models.values() if shared(one, model, slot)]
            if users[0] == model.name:
                yield model, slot, ", ".join(f"{name}.{slot}" for name in users)
