"""Where the bytes of a swapped unit are while it is not on the device: in host memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

import torch
from torch import Tensor

from wan_core.memory.copies import Span
from wan_core.memory.packing import Packing
from wan_core.memory.pinning import Pages, pinnable_bytes


class Source(Protocol):
    """One unit's bytes.

    Attributes:
        name: of the unit.
        packing: how its tensors follow each other.
    """

    name: str
    packing: Packing

    def send(self, copy: Callable[[Tensor], Span]) -> Span:
        """Have them copied.

        Args:
            copy: issues the copy of a buffer ``[packing.bytes]`` (uint8, host memory) and returns where it
                ends; until that mark is passed, the buffer stays as it is (one for staging is not filled anew).

        Returns:
            What ``copy`` returned.
        """
        ...

    def home(self) -> Sequence[Tensor]:
        """The tensors as they are without a device: what the unit's tensors point to in the meantime."""
        ...


class HostSource:
    """A unit in one buffer of host memory.

    Args:
        name: of the unit.
        tensors: what is copied into the buffer.
        pin: try to pin the buffer, while its owner does something else.
    """

    def __init__(self, name: str, tensors: Sequence[Tensor], *, pin: bool) -> None:
        self.name = name
        self.packing = Packing.of(tensors)
        self.pages = Pages(max(1, self.packing.bytes))
        self._buffer = self.pages.buffer()[: self.packing.bytes]
        self._home = self.packing.views(self._buffer)
        for place, tensor in zip(self._home, tensors, strict=True):
            place.copy_(tensor)
        self._pinning: Future[bool] | None = self.pages.pin_soon() if pin else None

    @property
    def pinned(self) -> bool:
        """Whether the buffer is, so that a device reads it by itself. Waits until that is known."""
        return self._pinning is not None and self._pinning.result()

    def send(self, copy: Callable[[Tensor], Span]) -> Span:
        _ = self.pinned  # a copy from pages that are being registered would be a slow one
        return copy(self._buffer)

    def home(self) -> Sequence[Tensor]:
        return self._home


class HostMemory:
    """Keeps units in host memory, pinned as long as the share for that lasts, then pageable.

    Args:
        share: bytes that may be pinned in all; None = half of the machine's memory. Nothing is pinned where
            there is no CUDA.

    Attributes:
        left: bytes of the share that are not taken; those of a buffer come back when nobody refers to it.
    """

    def __init__(self, share: int | None = None) -> None:
        self.left = pinnable_bytes() if share is None else share

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, name: str, tensors: Sequence[Tensor]) -> HostSource:
        """The source of the unit ``name``; its tensors are copied."""
        size = Packing.of(tensors).bytes
        fits = size <= self.left
        source = HostSource(name, tensors, pin=fits)
        if fits:
            self.left -= size
            # of the pages, not of the source: what was a unit's home may outlive it
            weakref.finalize(source.pages, self._give_back, size)
        return source

    def _give_back(self, size: int) -> None:
        self.left += size
