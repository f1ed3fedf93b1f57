"""What only the Wan 2.2 network has: shortcuts around whole stages, and pixels folded into channels.

Wan-Video/Wan2.2, ``wan/modules/vae2_2.py``. The shortcuts have no weights and remember nothing: they
only have to know whether a chunk begins the clip, which the stage's first convolution knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from wan_core.models.vae.layers import ResidualBlock, functional, past_of
from wan_core.models.vae.state import CausalState


def fold(x: Tensor, patch: int) -> Tensor:
    """``patch * patch`` pixels become channels of one; of a pixel's row and column, the row is faster.

    Not the order of torch's ``pixel_unshuffle``.
    """
    if patch == 1:
        return x
    folded: Tensor = rearrange(x, "b c f (h q) (w r) -> b (c r q) f h w", q=patch, r=patch)
    return folded


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of ``fold``."""
    if patch == 1:
        return x
    pixels: Tensor = rearrange(x, "b (c r q) f h w -> b c f (h q) (w r)", q=patch, r=patch)
    return pixels


class _Stage(nn.Module):
    """Blocks in a row and a shortcut from before the first to behind the last.

    Args:
        inputs, outputs: channels before and behind.
        factors: by how much time and space change.
    """

    def __init__(self, inputs: int, outputs: int, factors: tuple[int, int]) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.time, self.space = factors

    @staticmethod
    def run(blocks: nn.ModuleList, x: Tensor, state: CausalState | None) -> tuple[Tensor, bool]:
        """The result of the blocks, and whether ``x`` begins the clip."""
        first = blocks[0]
        assert isinstance(first, ResidualBlock)
        begins = past_of(first.first_convolution, state) is None
        y = x
        for block in blocks:
            y = block(y, state)
        return y, begins


class DownStage(_Stage):
    """A stage of the encoder; the shortcut is the mean over the pixels, frames and channels joined.

    The zero frame that stands before a clip, so that its first frame has one to be joined with, counts
    in the mean.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], inputs: int, outputs: int, factors: tuple[int, int]
    ) -> None:
        super().__init__(inputs, outputs, factors)
        self.downsamples = nn.ModuleList(blocks)

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        y, begins = self.run(self.downsamples, x, state)
        before = (self.time - 1) if begins else 0
        if functional():
            return y + self._mean(F.pad(x, (0, 0, 0, 0, before, 0)))
        for index in range(y.shape[2]):
            start = index * self.time - before
            joined = x[:, :, max(start, 0) : start + self.time]
            if start < 0:
                joined = F.pad(joined, (0, 0, 0, 0, before, 0))
            y[:, :, index : index + 1].add_(self._mean(joined))
        return y

    def _mean(self, x: Tensor) -> Tensor:
        joined = rearrange(
            x,
            "b c (f a) (h i) (w j) -> b (c a i j) f h w",
            a=self.time,
            i=self.space,
            j=self.space,
        )
        if joined.shape[1] == self.outputs:
            return joined
        groups: Tensor = rearrange(joined, "b (o g) f h w -> b o g f h w", o=self.outputs)
        return groups.mean(dim=2)


class UpStage(_Stage):
    """A stage of the decoder; the shortcut repeats channels and deals them out as pixels and frames.

    Of the clip's first frame only the last of its copies in time is left, as the blocks make one of
    one. ``short`` is False for the last stage, which has no shortcut.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        inputs: int,
        outputs: int,
        factors: tuple[int, int],
        short: bool,
    ) -> None:
        super().__init__(inputs, outputs, factors)
        self.upsamples = nn.ModuleList(blocks)
        self.short = short

    def forward(self, x: Tensor, state: CausalState | None = None) -> Tensor:
        y, begins = self.run(self.upsamples, x, state)
        if not self.short:
            return y
        dropped = (self.time - 1) if begins else 0
        if functional():
            return y + self._dealt(x)[:, :, dropped:]
        # where a channel comes from, by output channel, copy in time, row and column
        places = self.outputs * self.time * self.space**2
        source = torch.arange(places, device=x.device) // (places // self.inputs)
        source = source.view(self.outputs, self.time, -1)
        for index in range(y.shape[2]):
            frame, copy = divmod(index + dropped, self.time)
            dealt = x[:, :, frame].index_select(1, source[:, copy].flatten())
            pixels = rearrange(dealt, "b (o i j) h w -> b o h i w j", i=self.space, j=self.space)
            size = (*y.shape[:2], x.shape[3], self.space, x.shape[4], self.space)
            y[:, :, index].view(size).add_(pixels)
        return y

    def _dealt(self, x: Tensor) -> Tensor:
        places = self.outputs * self.time * self.space**2
        dealt: Tensor = rearrange(
            x.repeat_interleave(places // self.inputs, dim=1),
            "b (o a i j) f h w -> b o (f a) (h i) (w j)",
            a=self.time,
            i=self.space,
            j=self.space,
        )
        return dealt
