"""How much memory a stream needs, in closed form: planning asks before anything exists. No torch.

Counted are the tensors that ``layers`` and ``network`` hold at the same time in a steady stream;
the first chunk needs less. Not counted: weights, the workspace of convolution libraries, the scores
of attention where no fused kernel serves it, and frames that the reader keeps.
"""

from __future__ import annotations

import attrs

from wan_core.models.vae.descriptor import COLOURS, VaeConfig
from wan_core.models.vae.layout import (
    Block,
    Resample,
    Residual,
    Stage,
    decoder_blocks,
    encoder_blocks,
    framewise_blocks,
)

PAST = 2  # frames that a convolution of three frames carries
NORM = 4  # bytes per position of the norm's length, in every dtype


@attrs.frozen
class VaeMemory:
    """Bytes of one stream: what is carried between chunks, and what a chunk needs on top of it."""

    state: int
    work: int

    @property
    def peak(self) -> int:
        """State and work together."""
        return self.state + self.work


@attrs.define
class _Walk:
    """Goes through a network as a chunk does. Sizes are bytes; ``item`` is bytes per number."""

    item: int
    frames: int
    channels: int
    area: int
    held: int = 0
    state: int = 0
    work: int = 0

    def size(self, frames: int, channels: int) -> int:
        return frames * channels * self.area * self.item

    @property
    def x(self) -> int:
        """What the blocks so far hand on."""
        return self.size(self.frames, self.channels)

    def note(self, *sizes: int) -> None:
        self.work = max(self.work, self.held + sum(sizes))

    def split(self, at_once: int | None) -> None:
        """Go on with a part of the frames while all of them are kept."""
        if at_once is not None and self.frames > at_once:
            self.held += self.x
            self.frames = at_once

    def normed_conv(self, outputs: int, *, alive: int, passing: int = 0) -> None:
        """Norm, SiLU and convolution. Of its input, ``passing`` goes when it is normed."""
        padded = self.size(self.frames + PAST, self.channels)
        self.state += self.size(PAST, self.channels)
        self.note(alive, passing, padded, NORM * self.frames * self.area)
        self.channels = outputs
        self.note(alive, padded, self.x)

    def residual(self, outputs: int) -> None:
        x = self.x
        shortcut = outputs != self.channels
        self.normed_conv(outputs, alive=x)
        self.normed_conv(outputs, alive=x, passing=self.x)
        self.note(x, self.x, self.x if shortcut else 0)

    def up(self, block: Resample) -> None:
        if block.time:
            self.state += self.size(PAST, self.channels)
            # input, doubled channels, and the same as frames
            self.note(self.x, 4 * self.x)
            self.frames *= 2
        x, frame = self.x, self.size(1, self.channels)
        self.area *= 4
        self.channels = block.outputs
        self.note(x, 4 * frame, self.x, self.size(1, self.channels) if self.frames > 1 else 0)

    def down(self, time: bool) -> None:
        x, frame = self.x, self.size(1, self.channels)
        self.area //= 4
        self.note(x, frame, self.x, self.size(1, self.channels) if self.frames > 1 else 0)
        if time:
            self.state += self.size(1, self.channels)
            self.note(x, 2 * self.x + self.size(1, self.channels), self.x // 2)
            self.frames //= 2

    def block(self, block: Block) -> None:
        if isinstance(block, Stage):
            self.stage(block)
        elif isinstance(block, Residual):
            self.residual(block.outputs)
        elif block.up:
            self.up(block)
        else:
            self.down(block.time)

    def stage(self, stage: Stage) -> None:
        """The blocks of a stage; what went into the first is kept for the shortcut."""
        x, channels, area = self.x, self.channels, self.area
        time, _ = stage.factors
        for index, block in enumerate(stage.blocks):
            self.held += x if index == 1 else 0
            self.block(block)
        if len(stage.blocks) == 1:
            self.held += x
        # the shortcut is added one frame at a time
        frame = self.size(1, self.channels)
        joined = 0 if stage.up else time * channels * area * self.item
        self.note(self.x, frame, joined)
        self.held -= x

    def join(self, chunk: int) -> None:
        """The blocks so far took a chunk in parts; their results were kept and are now joined."""
        self.work += self.size(chunk - self.frames, self.channels)
        self.frames = chunk
        self.note(2 * self.x)

    def middle(self) -> None:
        self.residual(self.channels)
        self.note(self.x, 5 * self.x)  # q, k and v, once more side by side, and the result
        self.residual(self.channels)

    def result(self) -> VaeMemory:
        return VaeMemory(self.state, self.work)


def decoder_memory(
    config: VaeConfig,
    height: int,
    width: int,
    *,
    chunk: int = 1,
    at_once: int | None = None,
    item: int = 2,
    batch: int = 1,
) -> VaeMemory:
    """What ``decode_stream`` needs for frames of that many pixels.

    Args:
        chunk, at_once: as in ``decode_stream``.
        item: bytes per number: 4 for float32, 2 for half dtypes.
    """
    _, down, across = config.stride
    area = batch * (height // down) * (width // across)
    walk = _Walk(item, chunk, config.z_dim, area)
    walk.state += walk.size(PAST, config.z_dim)
    walk.channels = config.decoder_dim * config.dim_mult[-1]
    walk.split(at_once)
    walk.middle()
    for block in decoder_blocks(config):
        walk.split(at_once)
        walk.block(block)
    walk.split(at_once)
    walk.normed_conv(COLOURS * config.patch**2, alive=walk.x)
    return walk.result()


def encoder_memory(
    config: VaeConfig,
    height: int,
    width: int,
    *,
    chunk: int = 4,
    at_once: int | None = None,
    item: int = 2,
    batch: int = 1,
) -> VaeMemory:
    """What ``encode_stream`` needs; arguments as in ``decoder_memory``."""
    walk = _Walk(item, chunk, COLOURS * config.patch**2, batch * height * width // config.patch**2)
    walk.state += walk.size(PAST, walk.channels)
    walk.held += walk.x if config.patch > 1 else 0  # the folded frames are a copy
    walk.channels = config.dim
    blocks = encoder_blocks(config)
    early = framewise_blocks(blocks)
    walk.frames = min(chunk, at_once or chunk)
    for block in blocks[:early]:
        walk.block(block)
    if walk.frames < chunk:
        walk.join(chunk)
    for block in blocks[early:]:
        walk.block(block)
    walk.middle()
    walk.normed_conv(2 * config.z_dim, alive=walk.x)
    return walk.result()
