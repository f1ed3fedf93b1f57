"""What torch's convolutions hold on a CPU beside their input and their result, in closed form. No torch.

Two ways of computing, by the size of the input. Large ones go to oneDNN, which reads and writes channels in
blocks: it copies the input into that order, computes, lets that copy go, and copies its result back. Small ones
are *unfolded* into columns, one for each output position, with all the numbers that its kernel sees: of a
kernel of 3 x 3 x 3, 27 times the input.
"""

from __future__ import annotations

import attrs

# torch computes a 3-D convolution in float32 on a CPU by columns up to here, a tenth as fast
SMALL_CONVOLUTION = 20480  # channels x frames x height, past frames included
BLOCK = 8  # channels that oneDNN keeps side by side at least
SINGLE = 4  # bytes of a float32


@attrs.frozen
class Convolution:
    """One call, in float32.

    Attributes:
        inputs, outputs: channels.
        read, made: bytes of its input and of its result.
        kernel: positions that an output sees.
        depth: frames x height of its input; None for a 2-D convolution.
    """

    inputs: int
    outputs: int
    read: int
    made: int
    kernel: int
    depth: int | None = None

    @property
    def small(self) -> bool:
        """Whether it is computed by columns."""
        return self.depth is not None and self.inputs * self.depth <= SMALL_CONVOLUTION

    @property
    def peak(self) -> int:
        """Bytes beside the input: the result, and what is held on the way to it."""
        if self.small:
            columns = self.kernel * self.inputs * (self.made // self.outputs)
            return self.made + (columns if self.kernel > 1 else 0)
        weights = self.kernel * self.inputs * self.outputs * SINGLE
        result = _blocked(self.made, self.outputs)
        return weights + result + max(_blocked(self.read, self.inputs), self.made)


def _blocked(size: int, channels: int) -> int:
    """Bytes of a tensor whose channels are filled up to whole blocks."""
    return size // channels * (-(-channels // BLOCK) * BLOCK)
