"""What block swap really did: bytes that travelled, and the time that computing had to wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from wan_core.memory.copies import Copier, Span
from wan_core.memory.slots import Slot


@attrs.frozen
class UnitTimes:
    """One use of a swapped unit, in seconds.

    Attributes:
        unit: its name.
        copying: how long its copy took; 0 when it was there still.
        waiting: how long computing waited for that.
        computing: how long it computed.
    """

    unit: str
    copying: float
    waiting: float
    computing: float

    def __str__(self) -> str:
        copied, waited, computed = (
            f"{1e3 * seconds:.2f} ms" for seconds in (self.copying, self.waiting, self.computing)
        )
        return f"{self.unit}: copied in {copied}, waited {waited}, computed {computed}"


@attrs.define
class Traffic:
    """What has travelled to a device; a run adds that of its components up.

    Attributes:
        copies: units that were copied.
        bytes: and their bytes.
        copying: seconds that the copies took.
        waiting: seconds that computing waited for copies.
    """

    copies: int = 0
    bytes: int = 0
    copying: float = 0.0
    waiting: float = 0.0

    def add(self, other: Traffic) -> None:
        """Count what another one has counted."""
        self.copies += other.copies
        self.bytes += other.bytes
        self.copying += other.copying
        self.waiting += other.waiting

    def since(self, earlier: Traffic) -> Traffic:
        """What has been counted after another one of the same component."""
        return Traffic(
            self.copies - earlier.copies,
            self.bytes - earlier.bytes,
            self.copying - earlier.copying,
            self.waiting - earlier.waiting,
        )

    @property
    def hidden(self) -> float | None:
        """Share of the copying that went on beside computing, 0…1; None when nothing was copied."""
        if not self.copying:
            return None
        return min(1.0, max(0.0, 1 - self.waiting / self.copying))


@attrs.define(eq=False)
class _Use:
    unit: str
    copied: Span | None
    waited: Span
    computed: Span


class Meter:
    """Reads the times of uses once these are over; nobody waits for it.

    Args:
        copier: the device.
        tell: hears of every use that is over, in order.
    """

    def __init__(self, copier: Copier, tell: Callable[[UnitTimes], None] | None = None) -> None:
        self.traffic = Traffic()
        self._copier = copier
        self.tell = tell
        self._uses: deque[_Use] = deque()

    def used(self, slot: Slot) -> None:
        """A use of a slot's unit ends with what was to be computed so far."""
        if slot.waited is not None and slot.unit is not None:
            computed = self._copier.since(slot.waited)
            copied = slot.copied if slot.fresh else None
            self._uses.append(_Use(slot.unit, copied, slot.waited, computed))
            slot.fresh, slot.waited = False, None
        while self._uses and self._uses[0].computed.query():
            self._read(self._uses.popleft())

    def finish(self) -> None:
        """Read all. Waits for the end of the computing."""
        while self._uses:
            self._uses[0].computed.synchronize()
            self._read(self._uses.popleft())

    def _read(self, use: _Use) -> None:
        copying = use.copied.seconds() if use.copied else 0.0
        waiting = use.waited.seconds()
        self.traffic.copying += copying
        self.traffic.waiting += waiting
        if self.tell:
            self.tell(UnitTimes(use.unit, copying, waiting, use.computed.seconds()))
