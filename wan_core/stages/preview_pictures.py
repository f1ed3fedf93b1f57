"""Pictures of latents for previews: colours straight from them, or the frames of a tiny VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wan_core.contract.loading import Components
from wan_core.media.pixels import to_pixels
from wan_core.models.vae import Taehv
from wan_core.models.vae.preview import Colours

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_FRAMES = 48
LONGEST_SIDE = 512
"""Pixels of what a tiny VAE decodes, at most, when it is shown."""

Draw = Callable[[Tensor], "NDArray[np.uint8]"]
"""Latents ``[1, channels, latent frames, height, width]`` to ``[frames, height, width, 3]``, frames that are
spread evenly over the whole video."""


@attrs.frozen
class InColours:
    """A pixel for a latent and a frame for a latent frame or, of a long video, for some."""

    colours: Colours

    def __call__(self, latents: Tensor) -> NDArray[np.uint8]:
        shown = latents[:, :, _some(latents.shape[2])]
        return to_pixels(self.colours(shown)[0].transpose(0, 1))


@attrs.frozen
class Decoded:
    """The frames of a tiny VAE, every second or so of them where they are many.

    It is loaded for the first picture, and idle from one to the next: where room is short it leaves.

    Attributes:
        slot: of the tiny VAE.
    """

    components: Components
    slot: str

    def __call__(self, latents: Tensor) -> NDArray[np.uint8]:
        vae: Taehv = self.components.get(self.slot)
        try:
            return np.concatenate([to_pixels(_small(part)) for part in _clip(vae, latents)])
        finally:
            self.components.release(self.slot)


@torch.no_grad()
def _clip(vae: Taehv, latents: Tensor) -> Iterator[Tensor]:
    """Frames to be shown as they come, ``[1, 3, frames, height, width]``."""
    count = latents.shape[2]
    if count > MOST_FRAMES:
        # too long for a look: some moments, each decoded as a video of its own
        for index in _some(count):
            yield vae.decode(latents[:, :, index : index + 1])
        return
    every = -(-(1 + vae.config.stride[0] * (count - 1)) // MOST_FRAMES)
    done = 0
    for part in vae.decode_stream(latents):
        shown = part[:, :, -done % every :: every]
        done += part.shape[2]
        if shown.shape[2]:
            yield shown


def _some(count: int) -> list[int]:
    """The numbers of all frames or, of many, of some."""
    if count <= MOST_FRAMES:
        return list(range(count))
    return [i * (count - 1) // (MOST_FRAMES - 1) for i in range(MOST_FRAMES)]


def _small(frames: Tensor) -> Tensor:
    """``[1, 3, frames, height, width]`` to ``[frames, 3, height, width]`` of a bounded size."""
    shown = frames[0].transpose(0, 1).float()
    height, width = shown.shape[2:]
    longest = max(height, width)
    if longest <= LONGEST_SIDE:
        return shown
    size = [max(1, side * LONGEST_SIDE // longest) for side in (height, width)]
    return F.interpolate(shown, size, mode="bilinear", antialias=True)
