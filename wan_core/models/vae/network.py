"""Encoder and decoder of the Wan VAEs.

Wan-Video/Wan2.1 ``wan/modules/vae.py``, Wan-Video/Wan2.2 ``wan/modules/vae2_2.py``: the same blocks in
the same order, which Wan 2.2 groups in stages.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from wan_core.models.vae.descriptor import COLOURS, VaeConfig
from wan_core.models.vae.layers import (
    AttentionBlock,
    CausalConv3d,
    Downsample,
    Head,
    ResidualBlock,
    Upsample,
    number_slots,
    with_past,
)
from wan_core.models.vae.layout import (
    Block,
    Residual,
    Stage,
    decoder_blocks,
    encoder_blocks,
    framewise_blocks,
)
from wan_core.models.vae.stages import DownStage, UpStage
from wan_core.models.vae.state import DecoderState, EncoderState


def _build(block: Block) -> nn.Module:
    if isinstance(block, Residual):
        return ResidualBlock(block.inputs, block.outputs)
    if isinstance(block, Stage):
        inside = [_build(one) for one in block.blocks]
        if block.up:
            return UpStage(inside, block.inputs, block.outputs, block.factors, block.short)
        return DownStage(inside, block.inputs, block.outputs, block.factors)
    if block.up:
        return Upsample(block.inputs, block.outputs, block.time)
    return Downsample(block.inputs, block.time)


def _middle(width: int) -> nn.ModuleList:
    return nn.ModuleList(
        [ResidualBlock(width, width), AttentionBlock(width), ResidualBlock(width, width)]
    )


class Encoder(nn.Module):
    """Frames, folded, ``[batch, 3 * patch², frames, …]`` to ``[batch, 2 * z_dim, latent frames, …]``."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        blocks = encoder_blocks(config)
        width = config.dim * config.dim_mult[-1]
        self.conv1 = CausalConv3d(COLOURS * config.patch**2, config.dim, (3, 3, 3))
        self.downsamples = nn.ModuleList(_build(block) for block in blocks)
        self.middle = _middle(width)
        self.head = Head(width, 2 * config.z_dim)
        self.slots = number_slots(self)
        self.framewise = framewise_blocks(blocks)

    def new_state(self) -> EncoderState:
        """The state before the first frame."""
        return EncoderState([None] * self.slots)

    def forward(
        self, x: Tensor, state: EncoderState | None = None, at_once: int | None = None
    ) -> Tensor:
        """Encode the whole clip (no state) or the next chunk: 1 + 4n frames first, then 4n.

        Args:
            at_once: with a state, how many frames the large early blocks hold at a time.
        """
        if state is None or at_once is None or at_once >= x.shape[2]:
            x = self._early(x, state)
        else:
            x = torch.cat(
                [self._early(part, state) for part in torch.split(x, at_once, dim=2)], dim=2
            )
        for block in (*self.downsamples[self.framewise :], *self.middle, self.head):
            x = block(x, state)
        return x

    def _early(self, x: Tensor, state: EncoderState | None) -> Tensor:
        x = self.conv1(with_past(x, self.conv1, state))
        for block in self.downsamples[: self.framewise]:
            x = block(x, state)
        return x


class Decoder(nn.Module):
    """Latents ``[batch, z_dim, latent frames, …]`` to frames, folded, ``[batch, 3 * patch², frames, …]``."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        width = config.decoder_dim * config.dim_mult[-1]
        self.conv1 = CausalConv3d(config.z_dim, width, (3, 3, 3))
        self.middle = _middle(width)
        self.upsamples = nn.ModuleList(_build(block) for block in decoder_blocks(config))
        self.head = Head(config.decoder_dim * config.dim_mult[0], COLOURS * config.patch**2)
        self.slots = number_slots(self)

    def new_state(self) -> DecoderState:
        """The state before the first latent."""
        return DecoderState([None] * self.slots)

    @property
    def _blocks(self) -> list[nn.Module]:
        return [*self.middle, *self.upsamples, self.head]

    def forward(self, x: Tensor, state: DecoderState | None = None) -> Tensor:
        """Decode the whole clip (no state) or the next chunk of any number of latents."""
        x = self.conv1(with_past(x, self.conv1, state))
        for block in self._blocks:
            x = block(x, state)
        return x

    def pieces(self, x: Tensor, state: DecoderState, at_once: int) -> Iterator[Tensor]:
        """Like ``forward``, but depth first: no block ever holds more than ``at_once`` frames.

        Each block has its own state, so the late blocks may finish the first frames before the
        early ones hand on the next. Frames come out in order, ``at_once`` or fewer at a time.
        """
        x = self.conv1(with_past(x, self.conv1, state))
        yield from self._descend(x, state, at_once, self._blocks)

    def _descend(
        self, x: Tensor, state: DecoderState, at_once: int, blocks: list[nn.Module]
    ) -> Iterator[Tensor]:
        for done, block in enumerate(blocks):
            if x.shape[2] > at_once:
                for part in torch.split(x, at_once, dim=2):
                    yield from self._descend(part, state, at_once, blocks[done:])
                return
            x = block(x, state)
        yield x
