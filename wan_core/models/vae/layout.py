"""The order of blocks in the Wan 2.1 encoder and decoder, from a configuration, without torch.

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

    channels: int
    up: bool
    time: bool

    @property
    def outputs(self) -> int:
        """Channels after it: going up halves them."""
        return self.channels // 2 if self.up else self.channels


Block = Residual | Resample


def encoder_blocks(config: VaeConfig) -> list[Block]:
    """What lies between the encoder's first convolution (to ``dim`` channels) and its middle."""
    widths = [config.dim, *(config.dim * mult for mult in config.dim_mult)]
    blocks: list[Block] = []
    for stage, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        for index in range(config.num_res_blocks):
            blocks.append(Residual(outputs if index else inputs, outputs))
        if stage < len(config.temporal_downsample):
            blocks.append(Resample(outputs, up=False, time=config.temporal_downsample[stage]))
    return blocks


def decoder_blocks(config: VaeConfig) -> list[Block]:
    """What lies between the decoder's middle (``dim * dim_mult[-1]`` channels) and its head."""
    doubles_time = config.temporal_downsample[::-1]
    inputs = config.dim * config.dim_mult[-1]
    blocks: list[Block] = []
    for stage, mult in enumerate(reversed(config.dim_mult)):
        outputs = config.dim * mult
        for index in range(config.num_res_blocks + 1):
            blocks.append(Residual(outputs if index else inputs, outputs))
        if stage < len(doubles_time):
            change = Resample(outputs, up=True, time=doubles_time[stage])
            blocks.append(change)
            inputs = change.outputs
    return blocks


def framewise_blocks(blocks: list[Block]) -> int:
    """How many encoder blocks come before the first that joins frames.

    These hold the largest tensors, and they may take a chunk frame by frame.
    """
    joining = (i for i, b in enumerate(blocks) if isinstance(b, Resample) and b.time)
    return next(joining, len(blocks))
