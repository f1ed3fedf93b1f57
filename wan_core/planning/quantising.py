"""What a transformer takes that is quantised while it is loaded, and whether it can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.descriptions import Component
from wan_core.contract.errors import ResourceError, WorkflowError
from wan_core.contract.options import show
from wan_core.contract.quantization import Quantization, idle_pattern
from wan_core.kernels import is_shortage
from wan_core.planning.files import PlannedFile
from wan_core.weights import open_weights, printable, strip_prefixes
from wan_core.weights.described import can_be_quantised, quantised_layers
from wan_core.weights.quantised.own import GROUP, weight_bytes
from wan_core.weights.quantised.source import UnpackedSource

__all__ = ["quantised"]


def quantised(
    file: PlannedFile | None,
    component: Component,
    asked: Quantization,
    where: Callable[[str], str],
    dialects: Sequence[Any] = (),
) -> PlannedFile:
    """The file with the bytes that its weights will take.

    Args:
        where: turns a key of the model into file, line and key.
        dialects: that plugins bring.

    Raises:
        WorkflowError: the component can't be quantised, or is already, or nothing has a name to be kept.
    """
    place = where("quantization")
    if file is None or not can_be_quantised(component):
        raise WorkflowError(
            "the transformer of this family can't be quantised while it is loaded",
            where=place,
            remedy="leave quantization out",
        )
    if file.packed[0]:
        _check_products(file, component, asked, place)
    source = open_weights(file.path)

    def of(one: Quantization) -> Mapping[str, tuple[int, ...]]:
        return quantised_layers(component, source, one, dialects)

    every = of(attrs.evolve(asked, keep=()))
    if not every:
        raise WorkflowError(
            f"no matrix of {printable(file.path.name)} can become {asked.dtype}: "
            f"their inputs are no multiples of {GROUP}",
            where=place,
            remedy="name another dtype",
        )
    if (pattern := idle_pattern(asked, of)) is not None:
        raise WorkflowError(
            f"keep names {show(pattern)}, which no layer is called that could be quantised",
            where=place,
            remedy=f"layers are called {next(iter(every)).removesuffix('.weight')} and so on",
        )
    shapes = of(asked).values()
    if not shapes:
        raise WorkflowError(
            "keep names every layer that could be quantised",
            where=place,
            remedy="keep fewer, or leave quantization out",
        )
    if file.packed[0]:
        return file
    values = sum(map(math.prod, shapes))
    nbytes = sum(sum(weight_bytes(asked, shape)) for shape in shapes)
    return attrs.evolve(file, packed=(values, nbytes), largest=max(map(math.prod, shapes)))


def _check_products(
    file: PlannedFile, component: Component, asked: Quantization, place: str
) -> None:
    """A file that is quantised already can't be quantised, but its codes can be multiplied."""
    name, precision = printable(file.path.name), file.identity.precision
    if asked.products != "fp8":
        raise WorkflowError(
            f"{name} is quantised already ({precision.title})",
            where=place,
            remedy="leave quantization out, or name the bf16 or fp16 file of the model",
        )
    stored = UnpackedSource(strip_prefixes(open_weights(file.path), component.kind)).layouts
    suiting = [layout for layout in stored.values() if layout.scheme == "fp8_e4m3fn"]
    if suiting and all(layout.exact for layout in suiting):
        raise WorkflowError(
            f"{name} says of its weights that they are not to be multiplied in fp8",
            where=place,
            remedy="leave products out, or name another file of the model",
        )
    if not suiting:
        raise WorkflowError(
            f"{name} is {precision.title}, and products in fp8 need weights in fp8 e4m3fn",
            where=place,
            remedy="leave products out, or name another file of the model",
        )
    if asked.scale != "channel":
        raise WorkflowError(
            f"{name} is quantised already and has scales of its own",
            where=place,
            remedy="leave scale out",
        )


def why_products_are_exact(asked: Quantization | None, device: str, dtype: str) -> str | None:
    """Why a model unpacks its weights although products in fp8 were asked for, as a note.

    Raises:
        ResourceError: the device has no memory left to try it.
    """
    if asked is None or asked.products != "fp8":
        return None
    what = "products in fp8 were asked for, but weights are unpacked here: "
    if dtype != "bfloat16":
        return f"{what}the precision is {dtype}, not bfloat16"
    if not device.startswith("cuda"):
        return f"{what}{device} doesn't multiply 8-bit floats"
    import torch

    from wan_core.weights.quantised.products import can_multiply

    try:
        if can_multiply(torch.device(device)):
            return None
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        raise ResourceError(
            f"{device} has no memory left for a single product", remedy="close what else uses it"
        ) from error
    return f"{what}this card or this build of torch doesn't multiply 8-bit floats"
