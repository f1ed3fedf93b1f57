"""Units: what is swapped, quantised, skipped and given LoRA.

A model that is a stack of blocks says which modules these are. Residency, precision and adapters
work on this list, whether the model is a transformer, an encoder or a decoder.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs
from torch import Tensor, nn

if TYPE_CHECKING:
    from wan_core.weights.lora import KeptApart


@attrs.frozen(eq=False)
class Unit:
    """A module that is moved and treated as a whole, with all that is attached to it.

    Attributes:
        name: its path in the model (``"blocks.7"``).
        module: the module; running it means calling it, so its forward hooks see every use.
    """

    name: str
    module: nn.Module


@runtime_checkable
class BlockStack(Protocol):
    """An ordered list of units and the rest.

    Two more methods may be there: ``parts()``, units of their own beside the list, such as the embedding of
    the text, and ``tables()``, names of modules in the rest of which only rows are looked up, where they lie.
    An attribute ``rows`` is how many tokens a feed-forward handles at a time (None = all); the engine sets it.
    """

    def units(self) -> Sequence[Unit]:
        """The units in the order in which a forward pass calls them."""
        ...

    def rest(self) -> dict[str, Tensor]:
        """Parameters and buffers that belong to no unit, by their name in the model."""
        ...


def rest_of(model: nn.Module, units: Sequence[Unit]) -> dict[str, Tensor]:
    """All parameters and buffers of ``model`` outside ``units``, by name."""
    prefixes = tuple(f"{unit.name}." for unit in units)
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor for name, tensor in named if not name.startswith(prefixes)}


def stack_of(component: Any) -> BlockStack | None:
    """The stack that a component is, or the one that it wraps; None when it has none, or several."""
    if isinstance(component, BlockStack):
        return component
    names = {*getattr(component, "__dict__", ())}
    for kind in type(component).__mro__:  # classes with slots have no dictionary
        names.update(getattr(kind, "__slots__", ()))
    held = (getattr(component, name, None) for name in sorted(names))
    within = [one for one in held if isinstance(one, BlockStack)]
    return within[0] if len(within) == 1 else None


def loras_of(component: Any) -> KeptApart | None:
    """The LoRA files that a component, or the stack that it wraps, has beside its weights."""
    for one in (component, stack_of(component)):
        found: KeptApart | None = getattr(one, "loras", None)
        if found is not None:
            return found
    return None


def tables_of(stack: BlockStack) -> Collection[str]:
    """Names of the modules in the rest that need not be on the device."""
    tables: Collection[str] = stack.tables() if hasattr(stack, "tables") else ()
    return tables


class WithParts:
    """A stack whose parts beside the units are units, too, the first ones of a forward pass.

    Args:
        stack: which may have ``parts()``.
    """

    def __init__(self, stack: BlockStack) -> None:
        self._stack = stack

    def units(self) -> list[Unit]:
        """The parts, and then the units."""
        return [*self._parts(), *self._stack.units()]

    def rest(self) -> dict[str, Tensor]:
        """What belongs to neither, by name."""
        prefixes = tuple(f"{part.name}." for part in self._parts())
        return {n: t for n, t in self._stack.rest().items() if not n.startswith(prefixes)}

    def tables(self) -> Collection[str]:
        """As of the stack."""
        return tables_of(self._stack)

    def _parts(self) -> Sequence[Unit]:
        parts: Sequence[Unit] = self._stack.parts() if hasattr(self._stack, "parts") else ()
        return parts
