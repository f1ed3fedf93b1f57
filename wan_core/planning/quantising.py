"""What a transformer takes that is quantised while it is loaded, and whether it can be."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from wan_core.contract.descriptions import Component
from wan_core.contract.errors import WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.contract.options import show
from wan_core.contract.quantization import Quantization
from wan_core.planning.files import PlannedFile
from wan_core.weights import open_weights, printable

__all__ = ["quantised"]


def quantised(
    file: PlannedFile | None, component: Component, asked: Quantization, where: Callable[[str], str]
) -> PlannedFile:
    """The file with the bytes that its weights will take.

    Args:
        where: turns a key of the model into file, line and key.

    Raises:
        WorkflowError: the component can't be quantised, or is already, or nothing has a name to be kept.
    """
    place = where("quantization")
    if component.quantises is None or file is None:
        raise WorkflowError(
            "the transformer of this family can't be quantised while it is loaded",
            where=place,
            remedy="leave quantization out",
        )
    if file.packed[0]:
        raise WorkflowError(
            f"{printable(file.path.name)} is quantised already ({file.identity.precision.title})",
            where=place,
            remedy="leave quantization out, or name the bf16 or fp16 file of the model",
        )
    layers = resolve(component.quantises)
    source = open_weights(file.path)
    every = layers(source, component.config, attrs.evolve(asked, keep=()))
    for pattern in asked.keep:
        if len(layers(source, component.config, attrs.evolve(asked, keep=(pattern,)))) == len(
            every
        ):
            raise WorkflowError(
                f"keep names {show(pattern)}, which no layer is called that could be quantised",
                where=place,
                remedy=f"layers are called {next(iter(every)).removesuffix('.weight')} and so on",
            )
    shapes = layers(source, component.config, asked).values()
    values = sum(map(math.prod, shapes))
    scales = sum(shape[0] if asked.scale == "channel" else 1 for shape in shapes)
    largest = max(map(math.prod, shapes), default=0)
    return attrs.evolve(file, packed=(values, values + 4 * scales), largest=largest)
