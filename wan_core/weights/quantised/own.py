"""What the header of a quantised file says that wan-core wrote. Imports no torch.

Such a file is a safetensors file under official names. Its metadata have an entry ``wan_core.quantised``,
a JSON object with ``version`` (1), ``writer``, ``dtype``, ``scale``, ``keep``, ``loras`` (what was merged) and,
of int4, ``group`` (64) and ``nibbles`` (``"low_first"``). Fp8 and int8 are stored as others do it, ``X.weight``
and ``X.weight_scale`` (float32, ``[outputs, 1]`` or ``[1, 1]``), and need no entry to be read.

Int4 is ``X.weight`` uint8 ``[outputs, inputs / 2]`` and ``X.weight_scale`` bfloat16 ``[outputs, inputs / 64]``.
A byte holds two codes, the even column in its lower half; a code ``c`` from 1 to 15 is worth ``(c - 8) s`` with
``s`` the scale of its row and of its group of 64 columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wan_core.contract.errors import WeightsError
from wan_core.contract.quantization import Quantization
from wan_core.weights.safetensors_header import json_trouble, shown, unique_keys
from wan_core.weights.sources import TensorSource

__all__ = ["ENTRY", "GROUP", "header_entry", "holds_int4", "suits", "weight_bytes"]

ENTRY = "wan_core.quantised"
"""The name of the entry."""
VERSION = 1
GROUP = 64
"""Inputs that share a scale in int4."""
NIBBLES = "low_first"
MOST = 2**20


def header_entry(asked: Quantization, writer: str, loras: Sequence[str] = ()) -> str:
    """The entry of a file that is about to be written."""
    entry: dict[str, Any] = {"version": VERSION, "writer": writer, "dtype": asked.dtype}
    if asked.dtype == "int4":
        entry |= {"scale": "group", "group": GROUP, "nibbles": NIBBLES}
    else:
        entry["scale"] = asked.scale
    return json.dumps({**entry, "keep": list(asked.keep), "loras": list(loras)})


def holds_int4(source: TensorSource) -> bool:
    """Whether matrices of bytes in a file are int4, as its header says.

    Raises:
        WeightsError: the entry can't be read, or states a layout that is not known here.
    """
    text = source.metadata.get(ENTRY, "")
    if not text:
        return False
    try:
        if len(text) > MOST:
            raise ValueError("it is too long")
        entry = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise _refused(source, f"is no JSON ({json_trouble(error)})") from error
    if not isinstance(entry, dict):
        raise _refused(source, "is no JSON object")
    if entry.get("version") != VERSION:
        raise WeightsError(
            f"the quantised file is of version {shown(str(entry.get('version')))}, and read is {VERSION}",
            where=source.label,
            remedy="update wan-core, or quantise the original again",
        )
    if entry.get("dtype") != "int4":
        return False
    layout = (entry.get("group"), entry.get("nibbles"))
    if layout != (GROUP, NIBBLES):
        raise _refused(source, f"states an int4 that is not read: {shown(str(layout))}")
    return True


def suits(dtype: str, shape: Sequence[int]) -> bool:
    """Whether a matrix can be quantised so: int4 takes whole groups of inputs."""
    return dtype != "int4" or shape[1] % GROUP == 0


def weight_bytes(asked: Quantization, shape: Sequence[int]) -> tuple[int, int]:
    """Bytes of the codes of a matrix, and of its scales."""
    outputs, inputs = shape
    if asked.dtype == "int4":  # two codes a byte, a scale of two bytes for each group of inputs
        return outputs * inputs // 2, 2 * outputs * (inputs // GROUP)
    return outputs * inputs, 4 * (outputs if asked.scale == "channel" else 1)


def _refused(source: TensorSource, how: str) -> WeightsError:
    return WeightsError(
        f"the header's entry {ENTRY} {how}",
        where=source.label,
        remedy="quantise the original again",
    )
