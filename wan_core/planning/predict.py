"""Predictions in closed form: bytes of weights, activations and latents. No torch, no guess from timing.

The coefficients count live tensors of this code (see the formulas); they are checked against measurements
in ``benchmarks/``.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wan_core.contract.requests import VideoSize
from wan_core.models.encoders.clip_files import ClipConfig
from wan_core.models.vae import TaehvConfig, VaeConfig, decoder_memory, encoder_memory
from wan_core.models.vae.descriptor import COLOURS
from wan_core.models.wan import WanConfig
from wan_core.models.wan.config import AT_ONCE
from wan_core.weights.quantised.layouts import CHUNK

ITEM_SIZE: Mapping[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}

CONTEXT = 860_000_000
"""Bytes of a GPU that CUDA takes for itself: its context, and code as it comes to be used. Measured on an H100
with torch 2.11: 640 MB at the start, 860 MB after a run."""
WORKSPACES = 120_000_000
"""Bytes that libraries for products hold on to; measured in the same runs."""
HEAP_SHARE, HEAP_MOST = 60, 200_000_000
"""What the C library keeps of blocks that a VAE on a CPU let go: percent of what it takes, and the most bytes.

glibc returns a block to the system at once only from 32 MiB on, and what lies in its heap below leaves gaps.
With both, peaks measured at 96x96 to 352x352 with 24 and 96 channels were 0.68 to 1.28 of the predicted, in
float32 and in bfloat16.
"""


@attrs.frozen
class Phase:
    """A part of a stage in which one component works; memory is predicted, in bytes.

    Attributes:
        stage: name of the stage.
        part: in plain words (``"sampling"``).
        slot: the component that works.
        weights, activations: on the device: its weights, and what its work needs beside them, with what the
            allocator holds back.
        context: what a GPU's driver and libraries take there themselves.
        host: in host memory beside a GPU: what is swapped, or all of a component that computes there.
        files: of units that are swapped and have no room there.
        fixed: of ``host`` what can't lie in files, where something has to: weights of no unit, and the buffers
            that units in files go through.
    """

    stage: str
    part: str
    slot: str
    weights: int
    activations: int
    context: int = 0
    host: int = 0
    files: int = 0
    fixed: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return f"{self.stage} / {self.part}"

    @property
    def allocated(self) -> int:
        """Without the context: what the allocator asks the device for."""
        return self.weights + self.activations

    @property
    def peak(self) -> int:
        return self.allocated + self.context


def held_back(activations: int, *, convolutions: bool = False) -> int:
    """Bytes that are taken beside tensors: workspaces, and what the allocator reserves and does not use.

    It rounds, and leaves gaps where sizes vary: of the activations 2 to 3 % in transformers, 22 % in VAEs,
    whose convolutions try workspaces of many sizes (832x480, H100, blocks of memory that grow).
    """
    return WORKSPACES + activations * (22 if convolutions else 3) // 100


def unpacking(values: int, item: int) -> int:
    """Peak of unpacking a quantised weight of so many values, beside its codes.

    The result, and for the part that is unpacked at a time its codes as whole numbers, in float32, and times
    their scale.
    """
    return values * item + min(values, CHUNK) * 16


def with_heap(taken: int) -> int:
    """Bytes of a process whose tensors and workspaces take that many on a CPU."""
    return taken + min(taken * HEAP_SHARE // 100, HEAP_MOST)


def vae_decoding(config: VaeConfig, size: VideoSize, item: int, *, on_cpu: bool = False) -> int:
    """Peak of decoding one latent frame at a time, beside the weights: constant in the frames.

    On top of the live tensors, convolutions in 16 bits re-lay out their input and output: measured as 26 %
    on an H200 at 832x480, none in float32. On a CPU what they hold has a closed form.
    """
    live = decoder_memory(config, size.height, size.width, item=item, on_cpu=on_cpu).peak
    if on_cpu:
        return with_heap(live)
    return live * 130 // 100 if item == 2 else live


def vae_encoding(config: VaeConfig, size: VideoSize, item: int, *, on_cpu: bool = False) -> int:
    """Peak of encoding four frames at a time, beside the weights: constant in the frames.

    Convolutions need room of their own on top of the live tensors: measured as 31 to 35 % on an H200 at
    832x480 and 1280x704, in bfloat16 and in float32. On a CPU that room has a closed form.
    """
    live = encoder_memory(config, size.height, size.width, item=item, on_cpu=on_cpu).peak
    return with_heap(live) if on_cpu else live * 136 // 100


def preview_decoding(config: TaehvConfig, size: VideoSize, item: int) -> int:
    """Peak of decoding a latent frame with a tiny VAE, beside the weights: constant in the frames.

    The frame that each of its nine blocks carries, and four frames before and behind the last layers at full
    size; what convolutions need on top is taken to be as in :func:`vae_encoding`.
    """
    first, second, third, fourth = config.decoder_widths
    area = size.height * size.width // config.patch**2
    carried = 3 * (first * area // 64 + second * area // 16 + third * area // 4)
    live = 4 * (third + fourth + COLOURS * config.patch**2) * area
    return (carried + live) * item * 136 // 100


def clip_activations(config: ClipConfig, pictures: int, item: int) -> int:
    """Peak of CLIP's vision tower for so many pictures, beside the weights.

    A layer's stream before and after its attention, and the larger of what the attention and the two linear
    layers behind it hold; or, where that is more, the float32 pixels with their copy.
    """
    rows = pictures * config.tokens
    attention = 5 * config.width  # its normed input, q, k, v and the result
    feed_forward = config.width + 2 * config.mlp_width
    layer = rows * (2 * config.width + max(attention, feed_forward)) * item
    pixels = pictures * COLOURS * config.image_size**2
    return pixels * 4 + max(layer, pixels * item)


def _at_once(count: int, most: int) -> int:
    """Tokens of a piece, where ``count`` are cut into as few pieces of at most ``most`` as can be."""
    return -(-count // -(-count // most))


def transformer_activations(
    config: WanConfig,
    count: int,
    item: int,
    *,
    image_rows: int = 0,
    contexts: int = 1,
    rows: int | None = None,
    compiled: bool = False,
) -> int:
    """Peak of one block's forward pass for ``count`` tokens, beside the weights.

    The float32 stream before the block, which its caller holds, and the largest of three:

    * self-attention: the normed input, q, k, v and one of the two before it is rotated (or the result);
    * cross-attention: the stream within the block, the normed input, q and the result (with image tokens one
      more), beside keys and values;
    * feed-forward: the stream within the block, and of as many tokens as are handled at a time the normed
      input and two hidden tensors.

    Beside each of them some tokens are in float32 while they are normed or rotated. Blocks that make hints
    (VACE) have a stream for each context beside the main one, which waits, and keep the tokens that the first
    of them starts from.

    Args:
        image_rows: image tokens beside the text.
        contexts: that go through the blocks that make hints, where there are some.
        rows: tokens that the feed-forward handles at a time; None = all.
        compiled: the block is compiled, so that GELU needs no second hidden tensor.
    """
    dim = config.dim
    stream, width = count * dim * 4, count * dim * item
    once = _at_once(count, AT_ONCE) * dim * 4
    some = _at_once(count, rows or count)
    keys = (
        2 * (config.text_len if not image_rows else max(config.text_len, image_rows)) * dim * item
    )
    attention = 5 * width + 2 * once
    crossing = stream + keys + max(3 * width + 3 * once, 4 * width if image_rows else 0)
    hidden = (1 if compiled else 2) * config.ffn_dim
    feed_forward = stream + some * (dim + hidden) * item
    chain = (2 + contexts) * stream if config.vace_layers and contexts else 0
    tables = count * config.head_width * 4
    told = (config.text_len + image_rows) * dim * item
    return stream + chain + tables + told + max(attention, crossing, feed_forward)
