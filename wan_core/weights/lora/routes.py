"""Which way a linear layer takes with factors beside its weight. Imports no torch."""

from __future__ import annotations

__all__ = ["MOVE", "through_the_weight"]

MOVE = 160
"""Multiply-adds in the time in which memory takes one value of 16 bits: tensor cores beside their memory.

H200: 785 TFLOP/s beside 4.8 TB/s, so 392e12 multiply-adds and 2.4e12 values a second; consumer cards are near
it.
"""


def through_the_weight(tokens: int, rank: int, inputs: int, outputs: int) -> bool:
    """Whether adding the change to the weight first costs less than taking the tokens through the factors.

    Both give ``x (W + up down)ᵀ``. The product with W is common to both; what comes beside it, in multiply-adds
    and in values that go through memory, each of which counts as :data:`MOVE` multiply-adds:

    * through the weight: ``rank * inputs * outputs``, and W is read and its sum written,
      ``2 * inputs * outputs`` values. It costs the same for any number of tokens.
    * through the factors: ``tokens * rank * (inputs + outputs)``, and x is read once more, the narrow product
      written and read, the result read and written: ``tokens * (inputs + 2 * rank + 2 * outputs)`` values.

    For a layer of 5120 x 5120 and rank 64 they meet at some 3,200 tokens: the 512 rows of a text, and single
    pictures, go through the factors, the 32,760 tokens of 81 frames at 832x480 through the weight, where the
    change costs 1.2 % of the layer instead of 12 %.

    Args:
        tokens: rows of x.
        rank: of all files together.
    """
    weight = inputs * outputs * (rank + 2 * MOVE)
    moved = inputs + 2 * rank + 2 * outputs
    return weight < tokens * (rank * (inputs + outputs) + MOVE * moved)
