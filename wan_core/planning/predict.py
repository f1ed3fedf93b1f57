"""Predictions in closed form: bytes of weights, activations and latents. No torch, no guess from timing.

The coefficients count live tensors of this code (see the formulas); they are checked against measurements
in ``benchmarks/``.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wan_core.contract.requests import VideoSize

ITEM_SIZE: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@attrs.frozen
class Phase:
    """A part of a run whose memory is predicted: weights resident plus activations, in bytes."""

    name: str
    weights: int
    activations: int

    @property
    def peak(self) -> int:
        return self.weights + self.activations


def tokens(size: VideoSize, stride: tuple[int, int, int] = (4, 8, 8)) -> int:
    """Tokens of the transformer's sequence: latent frames x height/16 x width/16 for patch (1, 2, 2)."""
    frames = (size.frames - 1) // stride[0] + 1
    return frames * (size.height // (stride[1] * 2)) * (size.width // (stride[2] * 2))


def transformer_activations(count: int, dim: int, ffn_dim: int, item: int) -> int:
    """Peak of one block's forward pass for ``count`` tokens.

    In the feed-forward: the stream, its normed copy, and two hidden tensors of ``ffn_dim``; in the
    self-attention: the stream, its normed copy, q, k, v, one rotated copy each of q and k in float32 and
    the result. The larger of the two counts.
    """
    feed_forward = count * (2 * dim * item + 2 * ffn_dim * item)
    attention = count * (6 * dim * item + 2 * dim * 4)
    return max(feed_forward, attention)
