"""How a unit's bytes come to the device while something else computes there.

A copier orders two things that run beside each other: copies, carried out one after the other in the order in
which they are issued, and computing. Its methods return at once; a :class:`Mark` is a point in either.
"""

from __future__ import annotations

import time
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


class Span(Mark, Protocol):
    """What lies between two marks; the mark itself is the second one."""

    def seconds(self) -> float:
        """How long it took. Only when it is over."""
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

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Span:
        """Copy ``source`` to the start of ``buffer``, once the computing has passed the mark ``after``.

        Both are uint8, one on the device and one in host memory. They have to exist until the copy ends.

        Returns:
            This copy.
        """
        ...

    def wait(self, copied: Any) -> Span:
        """What is computed from now on begins after the copy that ended at the mark ``copied``.

        Returns:
            How long the computing had to wait.
        """
        ...

    def since(self, earlier: Any) -> Span:
        """From a mark in the computing to :meth:`mark`."""
        ...

    def mark(self) -> Mark:
        """The end of what was to be computed so far."""
        ...

    def finish(self) -> None:
        """Return when no copy is on its way any more."""
        ...


@attrs.frozen(eq=False)
class _CudaSpan:
    """Between two events that are timed."""

    begin: Any
    end: Any

    def query(self) -> bool:
        over: bool = self.end.query()
        return over

    def synchronize(self) -> None:
        self.end.synchronize()

    def seconds(self) -> float:
        milliseconds: float = self.begin.elapsed_time(self.end)
        return milliseconds / 1e3


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

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Span:
        self._copies.wait_event(_end(after))
        begin = self._event(self._copies)
        with torch.cuda.stream(self._copies):
            buffer[: source.numel()].copy_(source, non_blocking=True)
        return _CudaSpan(begin, self._event(self._copies))

    def wait(self, copied: Any) -> Span:
        begin = self._event()
        torch.cuda.current_stream(self.device).wait_event(_end(copied))
        return _CudaSpan(begin, self._event())

    def mark(self) -> Mark:
        return cast(Mark, self._event())

    def since(self, earlier: Any) -> Span:
        return _CudaSpan(_end(earlier), self._event())

    def finish(self) -> None:
        self._copies.synchronize()

    def _event(self, stream: Any = None) -> Any:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(stream or torch.cuda.current_stream(self.device))
        return event


def _end(mark: Any) -> Any:
    return mark.end if isinstance(mark, _CudaSpan) else mark


@attrs.define(eq=False)
class _SimulatedMark:
    """A point, or a span of ``taken`` seconds. ``clock`` orders it among all that was issued."""

    clock: int
    copier: SimulatedCopier
    buffer: int = 0  # of a copy
    at: float = attrs.field(factory=time.perf_counter)
    taken: float = 0.0

    def query(self) -> bool:
        return not self.buffer or self.copier.is_over(self.clock)

    def synchronize(self) -> None:
        if self.buffer:
            self.copier.arrive(self.clock)

    def seconds(self) -> float:
        return self.taken


@attrs.frozen(eq=False)
class _Coming:
    """A copy on its way; who asked for it has to keep its memory."""

    mark: _SimulatedMark
    buffer: weakref.ref[Tensor]
    source: weakref.ref[Tensor]


class SimulatedCopier:
    """Copies within the memory of the CPU that arrive when they are told to, as late as they may or earlier.

    What is computed is over at once; times are the host's. A buffer is full of NaN from the issue of a copy
    until its arrival, so that who does not wait gets no number. A copy that may overwrite what is still in use,
    and memory that is given back before a copy has ended, are errors.

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
        self._used: dict[int, int] = {}  # buffer -> when its last use began

    def allocate(self, size: int) -> Tensor:
        buffer = torch.full((size,), 0xFF, dtype=torch.uint8)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(buffer.untyped_storage(), self._gone, size, buffer.data_ptr())
        return buffer

    def fill(self, buffer: Tensor, source: Tensor, after: Any) -> Span:
        """See :meth:`Copier.fill`.

        Raises:
            AssertionError: the buffer was used after ``after``.
        """
        self._step()
        if after.clock < self._used.get(buffer.data_ptr(), 0):
            raise AssertionError("a copy does not wait for the end of the use of its buffer")
        buffer.fill_(0xFF)
        mark = _SimulatedMark(self._clock, self, buffer=buffer.data_ptr())
        self._coming.append(_Coming(mark, weakref.ref(buffer), weakref.ref(source)))
        return mark

    def wait(self, copied: Any) -> Span:
        there, begin = self.is_over(copied.clock), time.perf_counter()
        self._step()
        self.arrive(copied.clock)
        self._used[copied.buffer] = self._clock
        # what was there already has cost no time at all
        taken = 0.0 if there else time.perf_counter() - begin
        return _SimulatedMark(self._clock, self, taken=taken)

    def mark(self) -> Mark:
        self._step()
        return _SimulatedMark(self._clock, self)

    def since(self, earlier: Any) -> Span:
        return _SimulatedMark(self._clock, self, taken=time.perf_counter() - earlier.at)

    def finish(self) -> None:
        while self._coming:
            self._arrive()

    def is_over(self, clock: int) -> bool:
        """Whether the copy that was issued at ``clock`` has arrived."""
        return not self._coming or self._coming[0].mark.clock > clock

    def arrive(self, clock: int) -> None:
        """Let the copies arrive that were issued up to ``clock``."""
        while not self.is_over(clock):
            self._arrive()

    def _step(self) -> None:
        self._clock += 1
        for _ in range(min(len(self._coming), self._arrivals(len(self._coming)))):
            self._arrive()

    def _arrive(self) -> None:
        first = self._coming.popleft()
        buffer, source = first.buffer(), first.source()
        if buffer is None or source is None:
            raise AssertionError("memory was given back while a copy was on its way")
        begin = time.perf_counter()
        buffer[: source.numel()].copy_(source)
        first.mark.taken = time.perf_counter() - begin

    def _gone(self, size: int, buffer: int) -> None:
        self.now -= size
        self._used.pop(buffer, None)
