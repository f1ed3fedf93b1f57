"""How much memory a stream needs, in closed form: planning asks before anything exists. No torch.

Counted are the tensors that ``layers`` and ``network`` hold at the same time in a steady stream;
the first chunk needs less. Not counted: weights, the workspace of convolution libraries on a GPU, the
scores of attention where no fused kernel serves it, and frames that the reader keeps.
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
from wan_core.models.vae.workspaces import SINGLE, Convolution

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
    """Goes through a network as a chunk does. Sizes are bytes; ``item`` is bytes per number.

    ``rows``: the height where a CPU computes, else None. ``first``: the chunk is a clip's first frame, which is
    one to the end.
    """

    item: int
    frames: int
    channels: int
    area: int
    rows: int | None = None
    first: bool = False
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

    def made(
        self, read: int, made: int, channels: tuple[int, int], kernel: int, frames: int = 0
    ) -> int:
        """The result of a convolution, on a CPU with what it holds on the way; in 3-D of so many frames."""
        if self.rows is None:
            return made
        depth = frames * self.rows if frames else None
        return Convolution(*channels, read, made, kernel, depth).peak

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
        inputs, self.channels = self.channels, outputs
        made = self.made(padded, self.x, (inputs, outputs), 27, self.frames + PAST)
        self.note(alive, padded, made)

    def residual(self, outputs: int) -> None:
        x, inputs = self.x, self.channels
        self.normed_conv(outputs, alive=x)
        self.normed_conv(outputs, alive=x, passing=self.x)
        short = self.made(x, self.x, (inputs, outputs), 1, self.frames)
        self.note(x, self.x, short if inputs != outputs else 0)

    def up(self, block: Resample) -> None:
        if block.time and not self.first:
            self.state += self.size(PAST, self.channels)
            # input, doubled channels, and the same as frames
            self.note(self.x, 4 * self.x)
            if self.rows is not None:
                seen, wide = self.size(self.frames + PAST, self.channels), 2 * self.channels
                made = self.made(seen, 2 * self.x, (self.channels, wide), 3, self.frames + PAST)
                self.note(self.x, seen, made)
            self.frames *= 2
        x, frame, inputs = self.x, self.size(1, self.channels), self.channels
        self.area *= 4
        self.rows = self.rows and 2 * self.rows
        self.channels = block.outputs
        self.per_frame(x, 4 * frame, inputs)

    def down(self, time: bool) -> None:
        x, frame = self.x, self.size(1, self.channels)
        self.area //= 4
        self.rows = self.rows and self.rows // 2
        self.per_frame(x, frame, self.channels)
        if time and not self.first:
            past = self.size(1, self.channels)
            self.state += past
            both = (self.channels, self.channels)
            made = self.made(self.x + past, self.x // 2, both, 3, self.frames + 1)
            self.note(x, 2 * self.x + past, made)
            self.frames //= 2

    def per_frame(self, x: int, read: int, inputs: int) -> None:
        """A convolution in 2-D, frame by frame, beside all that went in and has come out."""
        made = self.made(read, self.size(1, self.channels), (inputs, self.channels), 9)
        self.note(x, read, made, self.x if self.frames > 1 else 0)

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
        wide = (self.channels, 3 * self.channels)
        self.note(2 * self.x, self.made(self.x, 3 * self.x, wide, 1))  # and how q, k and v are made
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
    on_cpu: bool = False,
) -> VaeMemory:
    """What ``decode_stream`` needs for frames of that many pixels.

    Args:
        chunk, at_once: as in ``decode_stream``.
        item: bytes per number: 4 for float32, 2 for half dtypes.
        on_cpu: count what convolutions hold there beside tensors, see ``workspaces``; in float32 whatever
            ``item`` is, because half dtypes were measured to take as much.
    """
    _, down, across = config.stride
    area = batch * (height // down) * (width // across)
    rows = height // down if on_cpu else None

    def walked(frames: int, first: bool = False) -> VaeMemory:
        walk = _Walk(SINGLE if on_cpu else item, frames, config.z_dim, area, rows, first)
        return _decode(walk, config, at_once)

    return _larger(walked(chunk), walked(1, True)) if on_cpu else walked(chunk)


def _decode(walk: _Walk, config: VaeConfig, at_once: int | None) -> VaeMemory:
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
    on_cpu: bool = False,
) -> VaeMemory:
    """What ``encode_stream`` needs; arguments as in ``decoder_memory``."""
    folded = COLOURS * config.patch**2
    area = batch * height * width // config.patch**2
    rows = height // config.patch if on_cpu else None

    def walked(frames: int, first: bool = False) -> VaeMemory:
        walk = _Walk(SINGLE if on_cpu else item, frames, folded, area, rows, first)
        return _encode(walk, config, at_once)

    return _larger(walked(chunk), walked(1, True)) if on_cpu else walked(chunk)


def _larger(steady: VaeMemory, first: VaeMemory) -> VaeMemory:
    """Of a stream whose first frame may need more than later chunks: a CPU computes small inputs by columns."""
    return attrs.evolve(steady, work=max(steady.work, first.work))


def _encode(walk: _Walk, config: VaeConfig, at_once: int | None) -> VaeMemory:
    folded, chunk = walk.channels, walk.frames
    walk.state += walk.size(PAST, walk.channels)
    walk.held += walk.x if config.patch > 1 else 0  # the folded frames are a copy
    walk.channels = config.dim
    blocks = encoder_blocks(config)
    early = framewise_blocks(blocks)
    walk.frames = min(chunk, at_once or chunk)
    if walk.rows is not None:
        seen = walk.size(walk.frames + PAST, folded)
        both = (folded, config.dim)
        walk.note(seen, walk.made(seen, walk.x, both, 27, walk.frames + PAST))
    for block in blocks[:early]:
        walk.block(block)
    if walk.frames < chunk:
        walk.join(chunk)
    for block in blocks[early:]:
        walk.block(block)
    walk.middle()
    walk.normed_conv(2 * config.z_dim, alive=walk.x)
    return walk.result()
