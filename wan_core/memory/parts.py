"""Parts of a state in host memory, on the device only while their units use them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence

import attrs
import torch
from torch import Tensor

from wan_core.memory.copies import Copier, Mark
from wan_core.memory.packing import Packing
from wan_core.memory.sources import HostMemory, HostSource


@attrs.define(eq=False)
class _Kept:
    """A part in host memory, and on its way to the device if it was sent for."""

    names: tuple[str, ...]
    source: HostSource
    coming: tuple[Tensor, Mark] | None = None


class SwappedParts(MutableMapping[str, Mapping[str, Tensor]]):
    """The ``parts`` of a :class:`wan_core.contract.State`, swapped like the units they belong to.

    What is read is copied to the device, and the part that was put here next after it is sent on its way, so
    that parts which are read in the order of their units arrive while others are used. What is assigned is
    copied to host memory, once; what is only read is never written back. On the device are, beside what is in
    use, one part that is on its way there and two that are leaving. The host waits for the first assignment of
    a part, and for one with other shapes than before.

    ::

        state = attrs.evolve(state, parts=SwappedParts(copier, state.parts))

    Args:
        copier: the device.
        parts: what there is already.
        memory: where parts are kept; pinned within its share.

    Attributes:
        fetched: parts copied to the device so far.
        written: parts copied to host memory so far, those of ``parts`` included.
    """

    def __init__(
        self,
        copier: Copier,
        parts: Mapping[str, Mapping[str, Tensor]] | None = None,
        *,
        memory: HostMemory | None = None,
    ) -> None:
        self.fetched = self.written = 0
        self._copier = copier
        self._memory = memory or HostMemory()
        self._kept: dict[str, _Kept] = {}
        self._leaving: list[tuple[Mark, Tensor]] = []
        self.update(parts or {})

    def __getitem__(self, unit: str) -> Mapping[str, Tensor]:
        kept = self._kept[unit]
        buffer, copied = kept.coming or self._send(kept)
        kept.coming = None
        self._copier.wait(copied)
        following = self._following(unit)
        if following is not kept and following.coming is None:
            following.coming = self._send(following)
        return dict(zip(kept.names, kept.source.packing.views(buffer), strict=True))

    def __setitem__(self, unit: str, part: Mapping[str, Tensor]) -> None:
        names, tensors = tuple(part), tuple(part.values())
        kept = self._kept.get(unit)
        if kept is None or (kept.names, kept.source.packing) != (names, Packing.of(tensors)):
            self._copier.finish()  # before host memory goes
            self._kept[unit] = _Kept(names, self._memory(unit, tensors))
        else:
            self._write(kept, tensors)
        self.written += 1

    def __delitem__(self, unit: str) -> None:
        self._copier.finish()
        del self._kept[unit]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __del__(self) -> None:
        if not sys.is_finalizing():  # no memory goes while a copy reads or writes it
            self._copier.finish()

    @torch.inference_mode(False)
    def _send(self, kept: _Kept) -> tuple[Tensor, Mark]:
        """Send a part on its way to the device."""
        buffer = self._copier.allocate(kept.source.packing.bytes)
        there = self._copier.mark()
        self.fetched += 1
        return buffer, kept.source.send(lambda host: self._copier.fill(buffer, host, there))

    @torch.no_grad()
    def _write(self, kept: _Kept, tensors: Sequence[Tensor]) -> None:
        """Send a part on its way to host memory; copies that follow begin after it."""
        source = kept.source
        if (
            kept.coming is not None
        ):  # what was sent for is out of date; its buffer goes when it has come
            self._copier.wait(kept.coming[1])
            kept.coming = None
        buffer = self._copier.allocate(source.packing.bytes)
        for place, tensor in zip(source.packing.views(buffer), tensors, strict=True):
            place.copy_(tensor)  # in one piece, and safe from what the model does with its own
        packed = self._copier.mark()
        written = source.send(lambda host: self._copier.fill(host, buffer, packed))
        self._leaving.append((written, buffer))
        if len(self._leaving) > 1:
            self._leaving[0][0].synchronize()
            del self._leaving[0]

    def _following(self, unit: str) -> _Kept:
        names = list(self._kept)
        return self._kept[names[(names.index(unit) + 1) % len(names)]]
