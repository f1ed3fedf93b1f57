"""The number formats of GGUF files: how many values a block holds and how many bytes it takes.

Source: the table of quantisation types in ggml (``ggml.h``, ``ggml-common.h``). Formats that exist only while
ggml computes (``Q8_1``, ``Q8_K``) are never stored and not listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import attrs

__all__ = ["FILE_TYPES", "GGML_TYPES", "GgmlType", "mixture"]


@attrs.frozen
class GgmlType:
    """A number format.

    Attributes:
        name: as people and :class:`~wan_core.weights.TensorInfo` say it: ``"Q4_K"``, ``"F16"``.
        block: values that are stored together.
        nbytes: bytes of one block.
    """

    name: str
    block: int
    nbytes: int


GGML_TYPES: Mapping[int, GgmlType] = {
    number: GgmlType(*entry)
    for number, entry in {
        0: ("F32", 1, 4),
        1: ("F16", 1, 2),
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        24: ("I8", 1, 1),
        25: ("I16", 1, 2),
        26: ("I32", 1, 4),
        27: ("I64", 1, 8),
        28: ("F64", 1, 8),
        29: ("IQ1_M", 256, 56),
        30: ("BF16", 1, 2),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
    }.items()
}

PLAIN = frozenset(kind.name for kind in GGML_TYPES.values() if kind.block == 1)

# llama.cpp's numbers in ``general.file_type``, those of the mixtures that are met
FILE_TYPES: Mapping[int, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 25: "IQ4_NL", 30: "IQ4_XS", 32: "BF16",
}  # fmt: skip


def mixture(values: Mapping[str, int], stated: int | None = None) -> str:
    """What people call a file of these types: ``"Q4_K_M"``, ``"Q8_0"``, ``"F16"``.

    A mixture of llama.cpp is named after its most common type; ``_S`` when the rest is at most one step finer,
    ``_M`` when it is finer than that. The file's own word counts when the tensors bear it out.

    Args:
        values: name of a type -> number of values stored in it.
        stated: ``general.file_type`` of the file.
    """
    quantised = Counter({name: count for name, count in values.items() if name not in PLAIN})
    counted = quantised or Counter(dict(values))
    if not counted:
        return ""
    common = counted.most_common(1)[0][0]
    word = FILE_TYPES.get(stated, "") if stated is not None else ""
    if word and common == word.removesuffix("_S").removesuffix("_M").removesuffix("_L"):
        return word
    if common not in ("Q3_K", "Q4_K", "Q5_K"):
        return common
    finer = [int(name[1]) for name in quantised if name[:1] == "Q" and name[1] > common[1]]
    return f"{common}_M" if any(bits > int(common[1]) + 1 for bits in finer) else f"{common}_S"
