"""How a model is quantised while it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sized

import attrs

from wan_core.contract.options import OptionError, choice

__all__ = ["Quantization", "idle_pattern"]

MOST_PATTERNS = 64
"""Of ``keep``: each is tried with every layer."""


@attrs.frozen
class Quantization:
    """The table ``quantization`` of a model: the large matrices of its transformer become codes and scales.

    Attributes:
        dtype: of the codes.
        scale: whether a whole weight has one scale or each of its output channels; ``"int4"`` has one for each
            group of 64 inputs anyway.
        keep: ``fnmatch`` patterns of layers, under official names, that stay as they are.
        products: ``"exact"`` unpacks weights for each product; ``"fp8"`` rounds inputs to 8 bits and multiplies
            codes, where the card can. Of a file that is in fp8 already only this and ``keep`` count.

    Raises:
        OptionError: they don't go together.
    """

    dtype: str = choice(
        "fp8_e4m3fn", "fp8_e5m2", "int8", "int4", default="fp8_e4m3fn", help="type of the codes"
    )
    scale: str = choice("channel", "tensor", default="channel", help="what has a scale of its own")
    keep: tuple[str, ...] = attrs.field(
        default=(),
        metadata={
            "help": "layers that stay as they are, such as blocks.0.*",
            "allowed": "a list of patterns",
        },
    )
    products: str = choice(
        "exact",
        "fp8",
        default="exact",
        help="fp8 rounds inputs to 8 bits, too: faster on cards that multiply them, and not exact",
    )

    @property
    def title(self) -> str:
        """For people."""
        return self.dtype + (", products in fp8" if self.products == "fp8" else "")

    def __attrs_post_init__(self) -> None:
        if self.dtype == "int4" and self.scale == "tensor":
            problem = 'can\'t be "tensor": int4 has a scale for each group of 64 inputs'
            raise OptionError("scale", problem, remedy="leave it out")
        if self.products == "fp8" and self.dtype != "fp8_e4m3fn":
            problem = f'can be "fp8" only with dtype = "fp8_e4m3fn", not {self.dtype}'
            raise OptionError("products", problem, remedy="leave one of them out")
        if len(self.keep) > MOST_PATTERNS:
            problem = f"holds {len(self.keep)} patterns, the most it may hold is {MOST_PATTERNS}"
            raise OptionError("keep", problem, remedy='take patterns such as "blocks.[0-3].*"')


def idle_pattern(asked: Quantization, layers: Callable[[Quantization], Sized]) -> str | None:
    """A pattern of ``keep`` that fits no layer which would be quantised otherwise; it is a slip.

    Args:
        layers: what is quantised.
    """
    every = len(layers(attrs.evolve(asked, keep=())))
    alone = (one for one in asked.keep if len(layers(attrs.evolve(asked, keep=(one,)))) == every)
    return next(alone, None)
