"""Where the bytes of a swapped unit are while it is not on the device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from wan_core.memory.copies import Mark
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

    def send(self, copy: Callable[[Tensor], Mark]) -> Mark:
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
        pin: try to pin the buffer.

    Attributes:
        pinned: whether it is, so that a device reads it by itself.
    """

    def __init__(self, name: str, tensors: Sequence[Tensor], *, pin: bool) -> None:
        self.name = name
        self.packing = Packing.of(tensors)
        pages = Pages(-1, max(1, self.packing.bytes))
        self.pinned = pin and pages.pin()
        self._buffer = pages.buffer()[: self.packing.bytes]
        self._home = self.packing.views(self._buffer)
        for place, tensor in zip(self._home, tensors, strict=True):
            place.copy_(tensor)

    def send(self, copy: Callable[[Tensor], Mark]) -> Mark:
        return copy(self._buffer)

    def home(self) -> Sequence[Tensor]:
        return self._home


class HostMemory:
    """Keeps units in host memory, pinned as long as the share for that lasts, then pageable.

    Args:
        share: bytes that may be pinned in all; None = half of the machine's memory. Nothing is pinned where
            there is no CUDA.

    Attributes:
        left: bytes of the share that are not taken.
    """

    def __init__(self, share: int | None = None) -> None:
        self.left = pinnable_bytes() if share is None else share

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, name: str, tensors: Sequence[Tensor]) -> HostSource:
        """The source of the unit ``name``; its tensors are copied."""
        size = Packing.of(tensors).bytes
        source = HostSource(name, tensors, pin=size <= self.left)
        if source.pinned:
            self.left -= size
            weakref.finalize(source, self._give_back, size)
        return source

    def _give_back(self, size: int) -> None:
        self.left += size
