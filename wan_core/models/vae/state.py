"""What a causal network remembers between chunks: the explicit state of a stream."""

from __future__ import annotations

import attrs
from torch import Tensor


@attrs.define
class StreamState:
    """What the layers of one encoder or decoder carry from chunk to chunk.

    Attributes:
        slots: per layer that remembers, what it keeps; None until it has seen the first frame.
    """

    slots: list[Tensor | None]

    @property
    def started(self) -> bool:
        """Whether the first frame has passed."""
        return self.slots[0] is not None

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return sum(slot.nbytes for slot in self.slots if slot is not None)


@attrs.define
class CausalState(StreamState):
    """The last input frames of every causal convolution of one encoder or decoder.

    ``sizes.state_bytes`` tells its bytes before it exists.

    A slot is None until its convolution has seen the first frame of the stream: that is the whole
    first-frame rule, and it holds for each convolution on its own. Calls that get a state change
    it; one state serves one stream (batch, size, dtype and device stay the same).

    Attributes:
        slots: per causal convolution ``[batch, channels, 1 or 2 frames, height, width]`` or None.
    """

    def remember(self, slot: int, seen: Tensor, frames: int) -> None:
        """Keep a copy of the last ``frames`` frames of ``seen`` (a view would keep all of it)."""
        self.slots[slot] = None  # the old frames go before the copy is made
        self.slots[slot] = seen[:, :, -frames:].clone()


class EncoderState(CausalState):
    """State of an encoder between chunks of frames."""


class DecoderState(CausalState):
    """State of a decoder between chunks of latents."""
