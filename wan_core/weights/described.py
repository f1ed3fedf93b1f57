"""What a component's description says of its file: its units, what LoRA may change, what can be quantised.

A component names functions of its own for these, or says that it is a stack of blocks
(:class:`~wan_core.contract.Stack`), and they follow from that. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wan_core.contract.descriptions import Component
from wan_core.contract.errors import WeightsError
from wan_core.contract.lazy import resolve
from wan_core.contract.quantization import Quantization
from wan_core.weights.dialects import Dialect
from wan_core.weights.lora.targets import LoraTargets
from wan_core.weights.naming import in_official_names, matches
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised.own import suits
from wan_core.weights.sources import RenamedSource, TensorSource
from wan_core.weights.stacks import StoredStack, numbered

__all__ = [
    "can_be_quantised",
    "keeps_apart",
    "lora_targets",
    "quantised_layers",
    "stored_stack",
    "takes_loras",
]

Dialects = Sequence[Any]
Shapes = Mapping[str, tuple[int, ...]]


def takes_loras(component: Component) -> bool:
    """Whether LoRA files can be merged into it."""
    return bool(component.lora_targets or component.stack)


def keeps_apart(component: Component) -> bool:
    """Whether they can be kept apart from its weights."""
    return component.keeps_apart or component.stack is not None


def can_be_quantised(component: Component) -> bool:
    """Whether it can be quantised while it is loaded."""
    return bool(component.quantises or component.stack)


def stored_stack(
    component: Component, source: TensorSource, dialects: Dialects
) -> StoredStack | None:
    """How the tensors of a component's file fall into units; None for one that is not made of units.

    Args:
        dialects: that plugins bring for its kind.

    Raises:
        WeightsError: the file has none of the blocks.
    """
    if component.units:
        own: StoredStack = resolve(component.units)(source, component.config, dialects)
        return own
    if component.stack is None:
        return None
    said = component.stack
    official = unpacked(_official(component, source, dialects))
    units: dict[str, str] = {}
    for path in said.units:
        units |= numbered(f"{path}.{{}}", f"{path}.", official.names())
    if not units:
        raise WeightsError(
            f"the file has no block {said.units[0]}.0, so it is no {component.kind} or has names that are not "
            "read",
            where=source.label,
            remedy="name another file of the model",
        )
    return StoredStack(
        official,
        units,
        {part: f"{part}." for part in said.parts},
        keep_float32=said.keep_float32,
        unpacks=component.unpacks,
    )


def lora_targets(component: Component, source: TensorSource, dialects: Dialects) -> LoraTargets:
    """What LoRA files may change of a component that takes some: shapes are those of weights, not of codes."""
    if component.lora_targets:
        own: LoraTargets = resolve(component.lora_targets)(source, dialects)
    else:
        official = unpacked(_official(component, source, dialects))
        shapes = {name: info.shape for name, info in official.tensors.items()}
        own = LoraTargets(
            shapes, dialects, widens=component.stack.widens if component.stack else None
        )
    return own.of_family(component.config)


def quantised_layers(
    component: Component, source: TensorSource, asked: Quantization, dialects: Dialects
) -> Shapes:
    """The matrices that are quantised while a component is loaded, by their official names."""
    if component.quantises:
        own: Shapes = resolve(component.quantises)(source, component.config, asked, dialects)
        return own
    stack = stored_stack(component, source, dialects)
    return _matrices(stack, asked) if stack else {}


def _matrices(stack: StoredStack, asked: Quantization) -> Shapes:
    """Those of the units: nearly all of the weights; what lies outside is small and loses most."""
    exact = (*stack.keep_float32, *stack.unpacks)
    prefixes = tuple(stack.units.values())
    shapes = {
        name: stack.source.shape(name) for name in stack.source.names() if name.startswith(prefixes)
    }
    return {
        name: shape
        for name, shape in shapes.items()
        if name.endswith(".weight")
        and len(shape) == 2
        and stack.source.tensors[name].is_float
        and not matches(name, exact)
        and not matches(name.removesuffix(".weight"), asked.keep)
        and suits(asked.dtype, shape)
    }


def _official(component: Component, source: TensorSource, dialects: Dialects) -> RenamedSource:
    """The file under official names; what no dialect knows is taken to have them."""
    plain = Dialect("official", component.kind, lambda names: True, _same, _same)
    return in_official_names(source, (*dialects, plain))


def _same(name: str) -> str:
    return name
