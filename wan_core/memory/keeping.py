"""Units that lie in host memory from the moment they are loaded."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from wan_core.contract.errors import ResourceError
from wan_core.memory.mapped import MappedSource, Staging, are_mapped, spooled
from wan_core.memory.packing import Packing, tensors_of
from wan_core.memory.residency import gigabytes
from wan_core.memory.sizes import BUFFERS
from wan_core.memory.sources import HostMemory, HostSource, Source
from wan_core.weights.places import printable


class HostRoom:
    """Host memory with a bound: what does not fit lies in files and comes through staging buffers.

    Args:
        room: bytes that units may take; None = no bound.
        share: bytes that may be pinned; None = half of the machine's memory.
        folder: for files of units that were made when they were loaded; None = where temporary files are.
        buffers: that units in files go through.

    Attributes:
        left: bytes of the room that are not taken; None = no bound.
    """

    def __init__(
        self,
        room: int | None = None,
        *,
        share: int | None = None,
        folder: Path | None = None,
        buffers: int = BUFFERS,
    ) -> None:
        self.left = room
        self._buffers = buffers
        self._staging: list[weakref.ref[Staging]] = []
        self._memory = HostMemory(share)
        self._folder = folder
        self._staying: dict[str, int] = {}

    @property
    def staging(self) -> Staging:
        """What units in files go through; its buffers are there as long as such units are."""
        found = self._staging[0]() if self._staging else None
        if found is None:
            found = Staging(self._buffers)
            self._staging[:] = [weakref.ref(found)]
        return found

    def bounded(self, room: int) -> HostRoom:
        """The same for units that may take ``room`` bytes; what is pinned and staged is shared."""
        other = HostRoom(room, folder=self._folder, buffers=self._buffers)
        other._staging, other._memory = self._staging, self._memory
        return other

    @torch.inference_mode(False)
    @torch.no_grad()
    def __call__(self, name: str, tensors: Sequence[Tensor]) -> Source:
        """The source of the unit ``name``; its tensors are copied, unless they lie in a file and stay there.

        Raises:
            ResourceError: a file can't be written.
        """
        size = Packing.of(tensors).bytes
        self._give_back(self._staying.pop(name, 0))
        if self.left is not None and size > self.left:
            there = tensors if are_mapped(tensors) else self._in_a_file(name, tensors, size)
            return MappedSource(name, there, self.staging)
        source: HostSource = self._memory(name, tensors)
        if self.left is not None:
            self.left -= size
            weakref.finalize(source.pages, self._give_back, size)
        return source

    @torch.inference_mode(False)
    @torch.no_grad()
    def stay(self, name: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Where the unit ``name``, which is not swapped, has to lie in host memory: where it is, or in a file.

        Raises:
            ResourceError: a file can't be written.
        """
        size = Packing.of(tensors).bytes
        if self.left is None or name in self._staying or are_mapped(tensors):
            return tensors
        if size > self.left:
            return self._in_a_file(name, tensors, size)
        self.left -= size
        self._staying[name] = size
        return tensors

    def _in_a_file(self, name: str, tensors: Sequence[Tensor], size: int) -> Sequence[Tensor]:
        try:
            return spooled(tensors, self._folder)
        except OSError as error:
            raise ResourceError(
                f"{name} has no room in host memory, and the file of {gigabytes(size)} that it is to lie in "
                f"cannot be written ({error.strerror or error})",
                where=printable(str(self._folder)) if self._folder else "",
                remedy="give [memory] more ram, or make room for the cache",
            ) from error

    def _give_back(self, size: int) -> None:
        if self.left is not None:
            self.left += size


class Keeper:
    """Takes units while a model is loaded, and hands them to a :class:`BlockSwap`, whose provider it is.

    Args:
        swapped: names of the units that are to be swapped, and of parts beside them.
        device: where they will compute.
        room: where they are kept.
        staying: names of units that are not, and take of the room what they are in ordinary memory.
    """

    def __init__(
        self,
        swapped: Collection[str],
        device: torch.device,
        room: HostRoom,
        staying: Collection[str] = (),
    ) -> None:
        self.names = (*swapped, *staying)
        self.device = device
        self._room = room
        self.staying = frozenset(staying)
        self._kept: dict[str, Source] = {}

    def without(self, names: Collection[str]) -> Keeper:
        """The same that leaves some units in ordinary memory."""
        left = [name for name in self.names if name not in names]
        swapped = [name for name in left if name not in self.staying]
        other = Keeper(swapped, self.device, self._room, self.staying.intersection(left))
        other._kept = self._kept
        return other

    @torch.inference_mode(False)
    def keep(self, name: str, module: nn.Module) -> None:
        """Move the tensors of a unit, which is in ordinary memory, to where they are kept."""
        tensors = list(tensors_of(module).values())
        if name in self.staying:
            places = self._room.stay(name, tensors)
        else:
            self._kept[name] = source = self._room(name, tensors)
            places = source.home()
        for tensor, place in zip(tensors, places, strict=True):
            tensor.data = place

    def __call__(self, name: str, tensors: Sequence[Tensor]) -> Source:
        """The source of a unit that was kept; one that was not is kept now."""
        source = self._kept.pop(name, None)
        if source is not None:
            home = source.home()
            places = [(t.data_ptr(), t.dtype, t.shape) for t in tensors]
            if places == [(t.data_ptr(), t.dtype, t.shape) for t in home]:
                return source
        return self._room(name, tensors)
