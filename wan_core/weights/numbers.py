"""Whether the numbers of a file can be taken as they are, from its header alone. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from wan_core.contract.errors import WeightsError
from wan_core.weights.naming import matches
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import RenamedSource

__all__ = ["refuse_unread_numbers", "scaled"]

# companions of quantised weights: without them the weights are wrong by their scales
QUANTISED = (
    "*.scale_weight",
    "*.weight_scale",
    "*.weight_scale_2",
    "*.weight_scale_inv",
    "*.comfy_quant",
    "*.scale_input",
    "*.input_scale",
    "*.wscales",
    "*.weight.absmax",
    "*.weight.quant_map",
)
READ = frozenset(("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"))
"""Types whose values are the weights, whatever precision they are cast to."""


def scaled(names: Iterable[str]) -> WeightsError | None:
    """The refusal of a file with these names when some of them belong to quantised weights."""
    if not any(matches(name, QUANTISED) for name in names):
        return None
    return WeightsError(
        "the file holds quantised weights with scales, which this version does not read",
        remedy="use the bf16 or fp16 file of the model",
    )


def refuse_unread_numbers(source: RenamedSource) -> None:
    """Refuse a file that :func:`wan_core.weights.load_into` would: what it can't read is known from the header.

    Args:
        source: under official names.

    Raises:
        WeightsError: it is quantised, or its tensors are no floating-point numbers.
    """
    if error := scaled((*source.tensors, *source.unknown)):
        error.where = source.label
        raise error
    odd = [(name, info.dtype) for name, info in source.tensors.items() if info.dtype not in READ]
    if odd:
        name, dtype = odd[0]
        more = f", and {len(odd) - 1} more are like it" if len(odd) > 1 else ""
        raise WeightsError(
            f"tensor {shown(name)} is of the type {dtype}, which is not read{more}",
            where=source.label,
            remedy="use the bf16 or fp16 file of the model",
        )
