"""A unit's tensors behind each other in one buffer, wherever that buffer is."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from wan_core.memory.sizes import aligned


@attrs.frozen
class Place:
    """Where a tensor lies in a buffer, and what it looks like.

    Attributes:
        offset: first byte, a multiple of :data:`~wan_core.memory.ALIGNMENT`.
        bytes: of its elements.
        dtype: of its elements.
        shape: sizes of its dimensions.
        stride: steps between elements; other strides could mean other kernels and so other bits.
    """

    offset: int
    bytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, buffer: Tensor) -> Tensor:
        """The tensor in ``buffer`` (uint8, one dimension)."""
        flat = buffer[self.offset : self.offset + self.bytes].view(self.dtype)
        return flat.as_strided(self.shape, self.stride)


@attrs.frozen
class Packing:
    """The places of a unit's tensors.

    Attributes:
        places: in the order of the tensors.
        bytes: of a buffer for all of them.
    """

    places: tuple[Place, ...]
    bytes: int

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Packing:
        """Places for ``tensors``, which keep their dtypes, shapes and, if they are dense, strides."""
        places = []
        end = 0
        for tensor in tensors:
            dense = torch.empty_like(tensor, device="meta")
            size = dense.numel() * dense.element_size()
            place = Place(end, size, dense.dtype, tuple(dense.shape), dense.stride())
            places.append(place)
            end += aligned(size)
        return cls(tuple(places), end)

    def views(self, buffer: Tensor) -> list[Tensor]:
        """The tensors in ``buffer`` (uint8, at least :attr:`bytes` long)."""
        return [place.view(buffer) for place in self.places]


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a unit by name, with those of all that hangs on it; each once.

    Raises:
        ValueError: one cannot be pointed at a buffer: it has no memory yet, consists of several tensors, or was
            made in inference mode.
    """
    named = dict([*module.named_parameters(), *module.named_buffers()])
    for name, tensor in named.items():
        if tensor.is_meta:
            raise ValueError(f"{name} has no memory yet and cannot be swapped")
        composite: object = is_traceable_wrapper_subclass(tensor)
        if composite:
            raise ValueError(f"{name} is a {type(tensor).__name__} and cannot be swapped")
        if tensor.is_inference():
            raise ValueError(f"{name} was made in inference mode and cannot be swapped")
    return named
