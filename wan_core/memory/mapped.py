"""Units that have no room in host memory: they lie in files, and travel through a few staging buffers.

A unit whose tensors are parts of a mapped file already, as its weights are when the file has them in the wanted
precision, stays where it is. One whose tensors were made (cast, merged, quantised) is written to a file without
a name, which the system removes when the process ends, however that is.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import torch
from torch import Tensor

from wan_core.memory.copies import Span
from wan_core.memory.packing import Packing
from wan_core.memory.pinning import Pages
from wan_core.memory.sizes import BUFFERS


class Staging:
    """Buffers of host memory, pinned where they can be, in which units are put together for their copy.

    Args:
        buffers: how many.

    Attributes:
        bytes: of all buffers, each as large as the largest unit that has come through.
    """

    def __init__(self, buffers: int = BUFFERS) -> None:
        self._buffers = [_Buffer() for _ in range(buffers)]

    @property
    def bytes(self) -> int:
        return sum(one.memory.numel() for one in self._buffers)

    @torch.inference_mode(False)
    @torch.no_grad()
    def send(
        self, tensors: Sequence[Tensor], packing: Packing, copy: Callable[[Tensor], Span]
    ) -> Span:
        """Put tensors together in the buffer that was used first, and have that copied.

        Waits until the last copy from that buffer is over.
        """
        one = self._buffers.pop(0)
        self._buffers.append(one)
        if one.copied is not None:
            one.copied.synchronize()
            one.copied = None
        if one.memory.numel() < packing.bytes:
            pages = Pages(packing.bytes)
            pages.pin()
            one.memory = pages.buffer()
        for place, tensor in zip(packing.views(one.memory), tensors, strict=True):
            place.copy_(tensor)
        one.sent = one.memory[: packing.bytes]
        one.copied = copy(one.sent)
        return one.copied


@attrs.define(eq=False)
class _Buffer:
    """One buffer, the part of it that is copied, and how far that is."""

    memory: Tensor = attrs.field(factory=lambda: torch.empty(0, dtype=torch.uint8))
    sent: Tensor | None = None
    copied: Span | None = None


class MappedSource:
    """A unit whose tensors stay where they are, in mapped files, until they are copied.

    Args:
        name: of the unit.
        tensors: which nobody changes.
        staging: shared with other units.
    """

    pinned = False

    def __init__(self, name: str, tensors: Sequence[Tensor], staging: Staging) -> None:
        self.name = name
        self.packing = Packing.of(tensors)
        # as they are now: the unit's own tensors point elsewhere while it computes
        self._home = [tensor.detach() for tensor in tensors]
        self._staging = staging

    def send(self, copy: Callable[[Tensor], Span]) -> Span:
        return self._staging.send(self._home, self.packing, copy)

    def home(self) -> Sequence[Tensor]:
        return self._home


def spooled(tensors: Sequence[Tensor], folder: Path | None) -> list[Tensor]:
    """The same tensors in a mapped file without a name.

    Args:
        folder: where its bytes lie; None = where temporary files do.

    Raises:
        OSError: the file can't be written.
    """
    packing = Packing.of(tensors)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        size = max(1, packing.bytes)
        # a full disk is found out now, and not by a write to the mapping, which would be the end of the process
        os.posix_fallocate(file.fileno(), 0, size)
        pages = mmap.mmap(file.fileno(), size)  # which keeps the file open
    places = packing.views(torch.frombuffer(pages, dtype=torch.uint8, count=packing.bytes))
    for place, tensor in zip(places, tensors, strict=True):
        place.copy_(tensor)
    pages.flush()  # pages that were written can be dropped, those that were not can't
    return places


def are_mapped(tensors: Sequence[Tensor]) -> bool:
    """Whether all of them lie in mapped files; False where the system doesn't tell."""
    if any(t.device.type != "cpu" for t in tensors):
        return False  # drivers map files of theirs at addresses of a device
    spans = _file_spans()
    return all(
        any(start <= t.data_ptr() and t.data_ptr() + t.nbytes <= end for start, end in spans)
        for t in tensors
        if t.nbytes
    )


def _file_spans() -> list[tuple[int, int]]:
    """Addresses of all that is mapped from files, adjoining parts of one file together."""
    spans: list[tuple[int, int]] = []
    before = ""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return spans
    for line in lines:
        area, _, _, _, inode, *_ = line.split(maxsplit=5)
        if inode != "0" and not line.rstrip().endswith("/dev/zero (deleted)"):
            start, end = (int(part, 16) for part in area.split("-"))
            if spans and spans[-1][1] == start and inode == before:
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        before = inode
    return spans
