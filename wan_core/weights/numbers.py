"""Whether the numbers of a file can be read, from its header alone. Imports no torch."""

from __future__ import annotations

from wan_core.contract.errors import WeightsError
from wan_core.weights.naming import matches
from wan_core.weights.quantised.layouts import REMEDY
from wan_core.weights.quantised.source import UnpackedSource
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorSource

__all__ = ["refuse_unread_numbers", "unpacked"]

# companions of weights that are quantised in ways that are not read, and of known ways with strange names
UNREAD = (
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
READ = frozenset(("F64", "F32", "F16", "BF16", "F8_E4M3FNUZ", "F8_E5M2FNUZ"))
"""Types whose values are the weights, whatever precision they are cast to."""


def unpacked(source: TensorSource) -> UnpackedSource:
    """A source as one of plain tensors; see :class:`UnpackedSource`.

    Raises:
        WeightsError: a weight is quantised in a way that is not read, or does not fit its scales.
    """
    if isinstance(source, UnpackedSource):
        return source
    plain = UnpackedSource(source)
    for name in (*plain.tensors, *plain.unknown):
        if matches(name, UNREAD):
            raise WeightsError(
                f"the file holds quantised weights that are not read: with {shown(name)}",
                where=source.label,
                remedy=REMEDY,
            )
    return plain


def refuse_unread_numbers(source: TensorSource) -> UnpackedSource:
    """Refuse a file that :func:`wan_core.weights.load_into` would: what it can't read is known from the header.

    Args:
        source: under official names.

    Returns:
        The same as a source of plain tensors.

    Raises:
        WeightsError: it is quantised in a way that is not read, or its tensors are no floating-point numbers.
    """
    plain = unpacked(source)
    odd = [(name, info.dtype) for name, info in plain.tensors.items() if info.dtype not in READ]
    if odd:
        name, dtype = odd[0]
        more = f", and {len(odd) - 1} more are like it" if len(odd) > 1 else ""
        raise WeightsError(
            f"tensor {shown(name)} is of the type {dtype}, which is not read{more}",
            where=source.label,
            remedy="use the bf16 or fp16 file of the model",
        )
    return plain
