"""How a model is quantised while it is loaded."""

from __future__ import annotations

import attrs

from wan_core.contract.options import choice

__all__ = ["Quantization"]


@attrs.frozen
class Quantization:
    """The table ``quantization`` of a model: the large matrices of its transformer become codes and scales.

    Attributes:
        dtype: of the codes.
        scale: whether a whole weight has one scale or each of its output channels.
        keep: ``fnmatch`` patterns of layers, under official names, that stay as they are.
    """

    dtype: str = choice(
        "fp8_e4m3fn", "fp8_e5m2", "int8", default="fp8_e4m3fn", help="type of the codes"
    )
    scale: str = choice("channel", "tensor", default="channel", help="what has a scale of its own")
    keep: tuple[str, ...] = attrs.field(
        default=(), metadata={"help": "layers that stay as they are, such as blocks.0.*"}
    )
