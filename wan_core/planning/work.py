"""The work of a model in closed form: operations and bytes of every call, before anything exists. No torch.

Counted as this code computes: what the transformer, the VAE, the text encoder and CLIP call, and how
large each call is. A multiplication and its addition are two operations (FLOP).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import attrs

from wan_core.models.encoders.clip_files import ClipConfig
from wan_core.models.vae import VaeConfig
from wan_core.models.vae.descriptor import COLOURS
from wan_core.models.vae.layout import Block, Residual, Stage, decoder_blocks, encoder_blocks
from wan_core.models.vae.workspaces import SMALL_CONVOLUTION
from wan_core.models.wan import WanConfig

Sort = Literal[
    "matmul",
    "attention",
    "convolution",
    "small_convolution",
    "flat_convolution",
    "norm",
    "elementwise",
]

PATCHES = 4  # latents of a token
NORM_PASSES = 8  # over the tensor: division, two factors and SiLU, read and written
PAST = 2
SMALL_CALLS = 45  # of a transformer's block beside its large calls: norms, casts, views, sums
SMALL_CALLS_OF_CONV = 14  # of a normed convolution
SMALL_CALLS_OF_LAYER = 12  # of CLIP: norms, splits, sums
LINEARS_OF_LAYER = 7  # of a text encoder's layer: q, k, v, o and three of the feed-forward


@attrs.frozen
class Work:
    """Equal calls.

    Attributes:
        sort: what is called.
        flop: operations of one call; 0 for elementwise ones.
        bytes: of memory that one call has to read and write.
        channels: of a convolution: the narrower side.
        times: how many calls.
        small: calls of next to no work among them or beside them.
    """

    sort: Sort
    flop: float
    bytes: float
    channels: int = 0
    times: float = 1
    small: float = 0


def flop(work: Iterable[Work], *sorts: Sort) -> float:
    """All operations, or those of some sorts."""
    return sum(w.flop * w.times for w in work if not sorts or w.sort in sorts)


def repeated(work: Iterable[Work], times: float) -> list[Work]:
    """The same work several times over."""
    return [attrs.evolve(w, times=w.times * times, small=w.small * times) for w in work]


def linear(rows: int, inputs: int, outputs: int, item: int, times: float = 1) -> Work:
    """A linear layer on ``rows`` rows; ``item`` is bytes per number."""
    moved = (rows * inputs + rows * outputs + inputs * outputs) * item
    return Work("matmul", 2.0 * rows * inputs * outputs, moved, times=times)


def attention(queries: int, keys: int, width: int, item: int, times: float = 1) -> Work:
    """Attention of all heads, ``width`` numbers together: scores, and the sum of the values."""
    moved = 2.0 * (queries + keys) * width * item
    return Work("attention", 4.0 * queries * keys * width, moved, times=times)


def transformer_work(
    config: WanConfig, tokens: int, item: int, *, image_rows: int = 0, contexts: int = 1
) -> list[Work]:
    """One branch of one step: a forward pass of the transformer for ``tokens`` tokens.

    Args:
        image_rows: image tokens beside the text.
        contexts: that go through the blocks that make hints (VACE), where there are some.
    """
    dim, rows = config.dim, config.text_len
    block = [
        linear(tokens, dim, dim, item, 6),
        linear(rows, dim, dim, item, 2),
        attention(tokens, tokens, dim, item),
        attention(tokens, rows, dim, item),
        linear(tokens, dim, config.ffn_dim, item),
        linear(tokens, config.ffn_dim, dim, item),
        *_around_block(tokens, dim, config.ffn_dim, item),
    ]
    once = [
        linear(tokens, PATCHES * config.in_dim, dim, item),
        linear(tokens, dim, PATCHES * config.out_dim, 4),
        linear(rows, config.text_dim, dim, item),
        linear(rows, dim, dim, item),
    ]
    if config.image_dim is not None and image_rows:
        block += [
            linear(image_rows, dim, dim, item, 2),
            attention(tokens, image_rows, dim, item),
        ]
        once += [
            linear(image_rows, config.image_dim, config.image_dim, item),
            linear(image_rows, config.image_dim, dim, item),
        ]
    hinted = [*block, linear(tokens, dim, dim, item)]
    if config.vace_layers:
        once += [
            linear(tokens, PATCHES * (config.vace_in_dim or config.in_dim), dim, item, contexts),
            linear(tokens, dim, dim, item, contexts),
        ]
    return [
        *once,
        *repeated(block, config.num_layers),
        *repeated(hinted, contexts * len(config.vace_layers)),
    ]


def _around_block(tokens: int, dim: int, ffn_dim: int, item: int) -> list[Work]:
    """What lies around a block's large calls, each a pass over the tokens."""
    stream = 4
    cast = stream + item if item != stream else 0
    norms = 3 * (2 * stream + cast) + 3 * 2 * item
    rope = 2 * (2 * stream + 2 * cast)
    sums = 3 * (2 * stream + item)
    passes = 12
    bytes_of_all = float(tokens * dim * (norms + rope + sums))
    hidden = float(tokens * ffn_dim * 2 * item)
    return [
        Work("elementwise", 0, bytes_of_all / passes, times=passes, small=SMALL_CALLS),
        Work("elementwise", 0, hidden),
    ]


def decoder_work(config: VaeConfig, height: int, width: int, frames: int, item: int) -> list[Work]:
    """Decoding a clip of so many pixels and frames, one latent frame at a time."""
    latents = (frames - 1) // config.stride[0] + 1
    size = (height // config.stride[1], width // config.stride[2])
    first = _Walk(item, *size, config.z_dim, True).decode(config)
    later = _Walk(item, *size, config.z_dim, False).decode(config)
    return [*first, *repeated(later, latents - 1)]


def video_encoder_work(
    config: VaeConfig, height: int, width: int, frames: int, item: int
) -> list[Work]:
    """Encoding a clip of so many pixels and frames: its first frame, then as many as a latent stands for."""
    stride = config.stride[0]
    size = (height // config.patch, width // config.patch)
    folded = COLOURS * config.patch**2
    first = _Walk(item, *size, folded, True).encode(config)
    later = _Walk(item, *size, folded, False, stride).encode(config)
    return [*first, *repeated(later, (frames - 1) // stride)]


@attrs.define
class _Walk:
    """Goes through a decoder with one latent frame, or through an encoder with the frames of one, as
    ``models.vae.sizes`` does for memory.

    ``first``: the clip's first latent, which is one frame to the end.
    """

    item: int
    height: int
    width: int
    channels: int
    first: bool
    frames: int = 1
    work: list[Work] = attrs.field(factory=list)

    @property
    def area(self) -> int:
        return self.height * self.width

    def decode(self, config: VaeConfig) -> Sequence[Work]:
        self.conv(config.z_dim, 1)  # conv2
        self.conv(config.decoder_dim * config.dim_mult[-1], 27)
        self.residual(self.channels)
        self.middle()
        self.residual(self.channels)
        for block in decoder_blocks(config):
            self.block(block)
        self.normed(3 * config.patch**2)
        return self.work

    def encode(self, config: VaeConfig) -> Sequence[Work]:
        self.conv(config.dim, 27)
        for block in encoder_blocks(config):
            self.block(block)
        self.residual(self.channels)
        self.middle()
        self.residual(self.channels)
        self.normed(2 * config.z_dim)
        self.conv(2 * config.z_dim, 1)  # conv1
        return self.work

    def block(self, block: Block) -> None:
        if isinstance(block, Stage):
            for one in block.blocks:
                self.block(one)
            self.passes(3 if block.short else 0)
        elif isinstance(block, Residual):
            self.residual(block.outputs)
        elif block.up:
            self.up(block.outputs, block.time)
        else:
            self.down(block.time)

    def moved(self, outputs: int) -> float:
        return float((self.channels + outputs) * self.frames * self.area * self.item)

    def conv(self, outputs: int, kernel: int, *, flat: bool = False) -> None:
        each = self.frames if flat else 1
        amount = 2.0 * kernel * self.channels * outputs * self.frames * self.area
        small = self.channels * (self.frames + PAST) * self.height <= SMALL_CONVOLUTION
        deep: Sort = "small_convolution" if small else "convolution"
        self.work.append(
            Work(
                "flat_convolution" if flat else deep,
                amount / each,
                self.moved(outputs) / each,
                min(self.channels, outputs),
                each,
            )
        )
        self.channels = outputs

    def passes(self, count: int, small: int = 0) -> None:
        """``count`` times one read or one write of what there is now."""
        size = 2.0 * self.channels * self.frames * self.area * self.item
        self.work.append(Work("elementwise", 0, size, times=count / 2, small=small))

    def norm(self) -> None:
        size = float(self.channels * self.frames * self.area * self.item)
        self.work.append(Work("norm", 0, size))
        self.passes(NORM_PASSES, SMALL_CALLS_OF_CONV)

    def normed(self, outputs: int) -> None:
        self.norm()
        self.conv(outputs, 27)

    def residual(self, outputs: int) -> None:
        inputs = self.channels
        self.normed(outputs)
        self.normed(outputs)
        if inputs != outputs:
            self.channels = inputs
            self.conv(outputs, 1)
        self.passes(3)

    def middle(self) -> None:
        wide = self.channels
        self.norm()
        self.work += [
            linear(self.area, wide, 3 * wide, self.item),
            attention(self.area, self.area, wide, self.item),
            linear(self.area, wide, wide, self.item),
        ]

    def up(self, outputs: int, time: bool) -> None:
        if time and not self.first:
            wide = self.channels
            self.conv(2 * wide, 3)
            self.channels, self.frames = wide, 2 * self.frames
            self.passes(2)
        self.height, self.width = 2 * self.height, 2 * self.width
        self.passes(2)
        self.conv(outputs, 9, flat=True)
        self.passes(2)

    def down(self, time: bool) -> None:
        self.passes(2)
        self.height, self.width = self.height // 2, self.width // 2
        self.conv(self.channels, 9, flat=True)
        self.passes(2)
        if time and not self.first:
            self.frames //= 2
            self.conv(self.channels, 3)
            self.passes(2)


def clip_work(config: ClipConfig, pictures: int, item: int) -> list[Work]:
    """Image tokens of so many pictures: the vision tower but for its last layer, which is not run."""
    rows, width = pictures * config.tokens, config.width
    patch = COLOURS * config.patch_size**2
    layer = [
        linear(rows, width, width, item, 4),
        *([attention(config.tokens, config.tokens, width, item)] * pictures),
        linear(rows, width, config.mlp_width, item),
        linear(rows, config.mlp_width, width, item),
        Work("elementwise", 0, float(rows * width * item), times=8, small=SMALL_CALLS_OF_LAYER),
    ]
    patches = linear(rows - pictures, patch, width, item)
    return [patches, *repeated(layer, config.layers - 1)]


def encoder_work(elements: int, layers: int, rows: int, item: int) -> list[Work]:
    """Encoding a prompt of ``rows`` tokens by ``layers`` layers that hold ``elements`` numbers.

    Attention among so few rows is nothing beside the projections.
    """
    calls = LINEARS_OF_LAYER * layers
    each = elements / calls
    return [
        Work("matmul", 2.0 * rows * each, each * item, times=calls, small=4 * SMALL_CALLS * layers)
    ]
