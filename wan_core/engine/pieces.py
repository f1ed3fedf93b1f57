"""What components can do to take less memory, and having them do it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.contract.placement import Placement
from wan_core.engine.ladder import Abilities
from wan_core.memory import BlockStack, WithParts, stack_of, tensors_of
from wan_core.memory.units import tables_of
from wan_core.models.vae import RampTiling
from wan_core.weights.spoilt import weights_of


def work_as(component: Any, placement: Placement) -> None:
    """Have a component handle as much at a time as the placement says, if it can."""
    stack: Any = stack_of(component)
    if hasattr(stack, "rows"):
        stack.rows = placement.rows
    if hasattr(component, "at_once"):
        component.at_once = placement.at_once
    if hasattr(component, "tiling"):
        component.tiling = RampTiling() if placement.tiles else None


def abilities(component: Any, *, may_leave: bool, inexact: bool) -> Abilities:
    """What can be done with a loaded component.

    Args:
        may_leave: its results may come from the CPU.
        inexact: the user allows tiles.
    """
    stack = stack_of(component)
    whole = WithParts(stack) if stack is not None else None
    names = [unit.name for unit in whole.units()] if whole is not None else []
    inner = [unit.name for unit in stack.units()] if stack is not None else []
    parts = [name for name in names if name not in inner]
    return Abilities(
        units=inner,
        parts=[*parts, *(tables_of(whole) if whole is not None else ())],
        rows=hasattr(stack, "rows"),
        frames=hasattr(component, "at_once"),
        tiles=inexact and hasattr(component, "tiling"),
        cpu=may_leave and (stack is not None or isinstance(component, nn.Module)),
    )


@torch.inference_mode(False)
@torch.no_grad()
def to_cpu(component: Any) -> None:
    """Move all weights of a component there; it computes where they are."""
    if isinstance(component, nn.Module):
        component.to("cpu")
    elif (stack := stack_of(component)) is not None:
        for tensor in everything_of(stack):
            tensor.data = tensor.data.cpu()


def named_weights(component: Any) -> Iterator[tuple[str, Tensor]]:
    """All numbers of a component by name, of quantised layers what their codes are worth."""
    stack = stack_of(component)
    if stack is None:
        yield from weights_of(component)
        return
    for unit in stack.units():
        for name, tensor in weights_of(unit.module):
            yield f"{unit.name}.{name}", tensor
    yield from stack.rest().items()


def everything_of(stack: BlockStack) -> list[Tensor]:
    """All tensors of a stack, in units or not."""
    units = [tensor for unit in stack.units() for tensor in tensors_of(unit.module).values()]
    return [*units, *stack.rest().values()]
