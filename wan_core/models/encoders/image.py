"""The image encoder: pictures to image tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wan_core.memory.units import Unit
from wan_core.models.encoders.clip import ClipVision
from wan_core.models.encoders.preparation import Preparation, prepare

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ImageEncoder"]


class ImageEncoder:
    """Pictures to image tokens: preparation and CLIP's vision tower.

    Attributes:
        clip: the network.
        preparation: see :func:`~wan_core.models.encoders.prepare`.
    """

    def __init__(self, clip: ClipVision, preparation: Preparation = "official") -> None:
        self.clip = clip
        self.preparation = preparation

    def units(self) -> list[Unit]:
        """The layers, in order."""
        return self.clip.units()

    def rest(self) -> dict[str, Tensor]:
        """Parameters outside the layers, by name."""
        return self.clip.rest()

    @property
    def image_dim(self) -> int:
        """Width of an image token."""
        return self.clip.config.width

    @property
    def tokens(self) -> int:
        """Image tokens of a picture, the class token first."""
        return self.clip.config.tokens

    def encode(self, pictures: Sequence[Tensor | NDArray[np.uint8]]) -> Tensor:
        """``[pictures, tokens, image_dim]``.

        Args:
            pictures: each at its own size, not resized before: ``[height, width, 3]`` uint8, or floats in
                -1…1, ``[3, height, width]`` or ``[3, frames, height, width]``, of which every frame is a
                picture.
        """
        size = self.clip.config.image_size
        ready = [prepare(_batch(picture), size, self.preparation) for picture in pictures]
        return self.clip.encode(torch.cat(ready))


def _batch(picture: Tensor | NDArray[np.uint8]) -> Tensor:
    """``[batch, 3, height, width]``."""
    tensor = torch.as_tensor(picture)
    if tensor.dtype is torch.uint8:
        return tensor.permute(2, 0, 1)[None]
    return tensor[None] if tensor.ndim == 3 else tensor.transpose(0, 1)
