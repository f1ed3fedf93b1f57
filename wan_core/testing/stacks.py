"""Whether a component's description of its blocks is true of the model that its loader makes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wan_core.contract import Component, LoadRequest, Quantization
from wan_core.contract.lazy import resolve
from wan_core.memory import BlockStack, WithParts, packed_bytes, stack_of, tensors_of
from wan_core.planning.files import PlannedFile
from wan_core.planning.unit_sizes import unit_sizes
from wan_core.weights import Identity, QuantLinear, open_weights
from wan_core.weights.described import can_be_quantised, quantised_layers

__all__ = ["check_stack"]

PRECISIONS = ("float32", "bfloat16")
Said = Sequence[str] | Mapping[str, int]
DTYPES = ("fp8_e4m3fn", "int8", "int4")


def check_stack(
    component: Component,
    file: Path,
    *,
    slot: str = "transformer",
    dialects: Sequence[Any] = (),
) -> None:
    """Load a component from a file in some precisions, plain and quantised, and compare the units of the loaded
    model, their bytes and the layers that became codes with what the file's header was taken to say.

    Args:
        component: says which blocks it has (``stack``, or ``units``).
        file: of the model, in plain numbers; a small one will do.
        slot: what it fills.
        dialects: the :class:`wan_core.weights.Dialect` objects of its kind.

    Raises:
        AssertionError: they differ; the message says in what.
    """
    ways: list[Quantization | None] = [None]
    if can_be_quantised(component):
        ways += [Quantization(dtype=dtype) for dtype in DTYPES]
    for precision in PRECISIONS:
        for asked in ways:
            _check(component, file, slot, dialects, precision, asked)


def _check(
    component: Component,
    file: Path,
    slot: str,
    dialects: Sequence[Any],
    precision: str,
    asked: Quantization | None,
) -> None:
    way = f"in {precision}" + (f" as {asked.dtype}" if asked else "")
    planned = PlannedFile(file, Identity(component.kind), "", 0, 0)
    sizes = unit_sizes(component, planned, dialects, precision, asked)
    assert sizes is not None, "the component does not say which blocks it has"
    loaded = resolve(component.load)(
        LoadRequest(
            slot,
            component,
            file,
            torch.device("cpu"),
            getattr(torch, precision),
            dialects=tuple(dialects),
            quantization=asked,
        )
    )
    stack = stack_of(loaded)
    assert stack is not None, f"what is loaded is no BlockStack and wraps none: {type(loaded)}"
    units = {unit.name: _bytes(unit.module) for unit in stack.units()}
    _same(f"units {way}", list(sizes.units), list(units))
    if asked:
        layers = quantised_layers(component, open_weights(file), asked, dialects)
        _same(f"quantised layers {way}", sorted(layers), sorted(_codes(stack)))
    _same(f"bytes of units {way}", sizes.units, units)
    both = WithParts(stack).units()
    parts = {unit.name: _bytes(unit.module) for unit in both if unit.name not in units}
    _same(f"parts {way}", sizes.parts, parts)


def _bytes(module: nn.Module) -> int:
    return packed_bytes([tensor.nbytes for tensor in tensors_of(module).values()])


def _codes(stack: BlockStack) -> Collection[str]:
    """Names of the weights that are codes."""
    return [
        f"{unit.name}.{name}.weight"
        for unit in stack.units()
        for name, module in unit.module.named_modules()
        if isinstance(module, QuantLinear)
    ]


def _same(what: str, said: Said, found: Said) -> None:
    if said == found:
        return
    of_file, of_model = _lines(said), _lines(found)
    only = [
        [one for one in of_file if one not in of_model],
        [one for one in of_model if one not in of_file],
    ]
    raise AssertionError(
        f"{what}: of the file is said {_some(only[0])}, the model has {_some(only[1])}"
        if any(only)
        else f"{what}: said in the order {_some(of_file)}, and called in the order {_some(of_model)}"
    )


def _lines(names: Said) -> list[str]:
    return (
        [f"{name} {size}" for name, size in names.items()]
        if isinstance(names, Mapping)
        else list(names)
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3]) or 'nothing else'}{more}"
