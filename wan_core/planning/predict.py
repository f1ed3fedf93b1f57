"""Predictions in closed form: bytes of weights, activations and latents. No torch, no guess from timing.

The coefficients count live tensors of this code (see the formulas); they are checked against measurements
in ``benchmarks/``.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wan_core.contract.requests import VideoSize
from wan_core.models.vae import VaeConfig, decoder_memory

ITEM_SIZE: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@attrs.frozen
class Phase:
    """A part of a stage in which one component works; memory is predicted, in bytes.

    Attributes:
        stage: name of the stage.
        part: in plain words (``"sampling"``).
        slot: the component that works.
        weights, activations: its weights, and what its work needs beside them.
    """

    stage: str
    part: str
    slot: str
    weights: int
    activations: int

    @property
    def name(self) -> str:
        return f"{self.stage} / {self.part}"

    @property
    def peak(self) -> int:
        return self.weights + self.activations


def tokens(size: VideoSize, stride: tuple[int, int, int] = (4, 8, 8)) -> int:
    """Tokens of the transformer's sequence: latent frames x height/16 x width/16 for patch (1, 2, 2)."""
    frames = (size.frames - 1) // stride[0] + 1
    return frames * (size.height // (stride[1] * 2)) * (size.width // (stride[2] * 2))


def vae_decoding(config: VaeConfig, size: VideoSize, item: int) -> int:
    """Peak of decoding one latent frame at a time, beside the weights: constant in the frames.

    On top of the live tensors, convolutions in 16 bits re-lay out their input and output: measured as 26 %
    on an H200 at 832x480, none in float32.
    """
    live = decoder_memory(config, size.height, size.width, item=item).peak
    return live * 130 // 100 if item == 2 else live


def transformer_activations(
    count: int, dim: int, ffn_dim: int, item: int, contexts: int = 0
) -> int:
    """Peak of one block's forward pass for ``count`` tokens, beside the weights.

    The float32 stream before and after the sub-step, and in the feed-forward: its normed input and two
    hidden tensors of ``ffn_dim``; in the self-attention: its normed input, q, k, v, a rotated q and k
    with the float32 copy that one of them is rotated in, and the result. The larger of the two counts.
    With contexts of VACE: the stream of each, the tokens that they start from, and the main stream while theirs
    goes through a block.
    """
    stream = count * (2 + (2 + contexts if contexts else 0)) * dim * 4
    feed_forward = count * (dim * item + 2 * ffn_dim * item)
    attention = count * (6 * dim * item + 2 * dim * 4)
    return stream + max(feed_forward, attention)
