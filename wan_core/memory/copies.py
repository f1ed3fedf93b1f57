"""How a unit's bytes come to the device while something else computes there.

A copier orders two things that run beside each other: copies, carried out one after the other in the order in
which they are issued, and computing. Its methods return at once; a :class:`Mark` is a point in either.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

import attrs
import torch
from torch import Tensor


class Mark(Protocol):
    """A point in the copies or in the computing; :class:`torch.cuda.Event` is one."""

    def query(self) -> bool:
        """Whether everything before it is over."""
        ...

    def synchronize(self) -> None:
        """Wait until it is."""
        ...


class Copier(Protocol):
    """Buffers on a device, and copies into them."""

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        ...

    def allocate(self, size: int) -> Tensor:
        """A buffer of ``size`` bytes on the device; it is given back when nobody refers to it."""
        ...

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Mark:
        """Copy ``source`` to the start of ``buffer``, once the computing has passed the mark ``after``.

        Both are uint8, one on the device and one in host memory. They have to exist until the copy ends.

        Returns:
            The end of this copy.
        """
        ...

    def wait(self, copied: Any) -> None:
        """What is computed from now on begins after the copy that ended at the mark ``copied``."""
        ...

    def mark(self) -> Mark:
        """The end of what was to be computed so far."""
        ...

    def finish(self) -> None:
        """Return when no copy is on its way any more."""
        ...


class CudaCopier:
    """Copies on a stream of its own; computing is what the current stream does.

    Args:
        device: a CUDA device; the current one when it has no index.
    """

    def __init__(self, device: torch.device | str = "cuda") -> None:
        device = torch.device(device)
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self._copies: Any = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def allocate(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Mark:
        self._copies.wait_event(after)
        with torch.cuda.stream(self._copies):
            buffer[: source.numel()].copy_(source, non_blocking=True)
        copied: Mark = self._copies.record_event()
        return copied

    def wait(self, copied: Any) -> None:
        torch.cuda.current_stream(self.device).wait_event(copied)

    def mark(self) -> Mark:
        reached: Any = torch.cuda.current_stream(self.device).record_event()
        return cast(Mark, reached)

    def finish(self) -> None:
        self._copies.synchronize()


@attrs.define(eq=False)
class _SimulatedMark:
    clock: int
    copier: SimulatedCopier
    copy: bool = False

    def query(self) -> bool:
        return not self.copy or self.copier.is_over(self.clock)

    def synchronize(self) -> None:
        if self.copy:
            self.copier.wait(self)


@attrs.frozen(eq=False)
class _Coming:
    """A copy on its way; who asked for it has to keep its memory."""

    clock: int
    buffer: weakref.ref[Tensor]
    source: weakref.ref[Tensor]


class SimulatedCopier:
    """Copies within the memory of the CPU that arrive when they are told to, as late as they may or earlier.

    What is computed is over at once. A buffer is full of NaN from the issue of a copy until its arrival, so
    that who does not wait gets no number. A copy that may overwrite what is still in use, and memory that is
    given back before a copy has ended, are errors.

    Args:
        arrivals: given how many copies are on their way, how many of them (the oldest) arrive now; asked
            whenever something is issued. The default lets all arrive only when they are waited for.

    Attributes:
        peak: most bytes of buffers that existed at one time.
        now: bytes of buffers that exist.
    """

    device = torch.device("cpu")

    def __init__(self, arrivals: Callable[[int], int] = lambda _: 0) -> None:
        self.now = self.peak = 0
        self._arrivals = arrivals
        self._clock = 0
        self._coming: deque[_Coming] = deque()
        self._buffers: dict[int, int] = {}  # mark of a copy -> its buffer
        self._used: dict[int, int] = {}  # buffer -> when its last use began

    def allocate(self, size: int) -> Tensor:
        buffer = torch.full((size,), 0xFF, dtype=torch.uint8)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(buffer.untyped_storage(), self._gone, size, buffer.data_ptr())
        return buffer

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Mark:
        """See :meth:`Copier.fill`.

        Raises:
            AssertionError: the buffer was used after ``after``.
        """
        self._step()
        if after.clock < self._used.get(buffer.data_ptr(), 0):
            raise AssertionError("a copy does not wait for the end of the use of its buffer")
        buffer.fill_(0xFF)
        self._buffers[self._clock] = buffer.data_ptr()
        self._coming.append(_Coming(self._clock, weakref.ref(buffer), weakref.ref(source)))
        return _SimulatedMark(self._clock, self, copy=True)

    def wait(self, copied: Any) -> None:
        self._step()
        while not self.is_over(copied.clock):
            self._arrive()
        self._used[self._buffers[copied.clock]] = self._clock

    def mark(self) -> Mark:
        self._step()
        return _SimulatedMark(self._clock, self)

    def finish(self) -> None:
        while self._coming:
            self._arrive()

    def is_over(self, clock: int) -> bool:
        """Whether the copy that was issued at ``clock`` has arrived."""
        return not self._coming or self._coming[0].clock > clock

    def _step(self) -> None:
        self._clock += 1
        for _ in range(min(len(self._coming), self._arrivals(len(self._coming)))):
            self._arrive()

    def _arrive(self) -> None:
        first = self._coming.popleft()
        buffer, source = first.buffer(), first.source()
        if buffer is None or source is None:
            raise AssertionError("memory was given back while a copy was on its way")
        buffer[: source.numel()].copy_(source)

    def _gone(self, size: int, buffer: int) -> None:
        self.now -= size
        self._used.pop(buffer, None)
