"""The order of blocks in encoder and decoder, from a configuration, without torch.

The networks are built from these lists and their memory is counted from them.
"""

from __future__ import annotations

import itertools

import attrs

from wan_core.models.vae.descriptor import VaeConfig


@attrs.frozen
class Residual:
    """A residual block from ``inputs`` to ``outputs`` channels."""

    inputs: int
    outputs: int


@attrs.frozen
class Resample:
    """A change of resolution: up or down by two in space, with ``time`` also in time."""

    inputs: int
    outputs: int
    up: bool
    time: bool


@attrs.frozen
class Stage:
    """Blocks with a shortcut around all of them that has no weights; the stages of Wan 2.2.

    Attributes:
        blocks: what the stage consists of; at most the last is a ``Resample``.
        up: the shortcut of a decoder's stage, else that of an encoder's.
        short: the shortcut is there; the last stage of a decoder has none.
    """

    blocks: tuple[Residual | Resample, ...]
    up: bool
    short: bool = True

    @property
    def inputs(self) -> int:
        """Channels before it."""
        return self.blocks[0].inputs

    @property
    def outputs(self) -> int:
        """Channels after it."""
        return self.blocks[-1].outputs

    @property
    def factors(self) -> tuple[int, int]:
        """By how much it changes time and space."""
        last = self.blocks[-1]
        return (1 + last.time, 2) if isinstance(last, Resample) else (1, 1)


Block = Residual | Resample | Stage


def encoder_blocks(config: VaeConfig) -> list[Block]:
    """What lies between the encoder's first convolution (to ``dim`` channels) and its middle."""
    widths = [config.dim, *(config.dim * mult for mult in config.dim_mult)]
    blocks: list[Block] = []
    for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        inside: list[Residual | Resample] = _residuals(inputs, outputs, config.num_res_blocks)
        if stage < len(config.temporal_downsample):
            time = config.temporal_downsample[stage]
            inside.append(Resample(outputs, outputs, up=False, time=time))
        blocks += [Stage(tuple(inside), up=False)] if config.shortcuts else inside
    return blocks


def decoder_blocks(config: VaeConfig) -> list[Block]:
    """What lies between the decoder's middle and its head."""
    doubles_time = config.temporal_downsample[::-1]
    inputs = config.decoder_dim * config.dim_mult[-1]
    blocks: list[Block] = []
    for stage, mult in enumerate(reversed(config.dim_mult)):
        outputs = config.decoder_dim * mult
        inside: list[Residual | Resample] = _residuals(inputs, outputs, config.num_res_blocks + 1)
        goes_up = stage < len(doubles_time)
        inputs = outputs
        if goes_up:
            inputs = outputs if config.shortcuts else outputs // 2
            inside.append(Resample(outputs, inputs, up=True, time=doubles_time[stage]))
        blocks += [Stage(tuple(inside), up=True, short=goes_up)] if config.shortcuts else inside
    return blocks


def _residuals(inputs: int, outputs: int, count: int) -> list[Residual | Resample]:
    return [Residual(outputs if index else inputs, outputs) for index in range(count)]


def framewise_blocks(blocks: list[Block]) -> int:
    """How many encoder blocks come before the first that joins frames.

    These hold the largest tensors, and they may take a chunk frame by frame.
    """
    joining = (i for i, block in enumerate(blocks) if _joins_frames(block))
    return next(joining, len(blocks))


def _joins_frames(block: Block) -> bool:
    if isinstance(block, Stage):
        return any(map(_joins_frames, block.blocks))
    return isinstance(block, Resample) and block.time
