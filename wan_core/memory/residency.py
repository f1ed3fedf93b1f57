"""Which components are in memory: loaded on first use, kept as long as the budget allows.

A component (text encoder, transformer, VAE …) that is asked for again is handed out without loading. When a
new one would exceed the budget, those that are not in use leave, the least recently used first. Sizes are
known before anything is loaded: they come from the files' headers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import attrs

from wan_core.contract.errors import ResourceError


@attrs.define
class _Resident:
    value: Any
    bytes: int
    title: str
    users: int = 0


class Residency:
    """Components that share one memory.

    Args:
        budget: bytes that resident components and the work of the one in use may take; None = no bound.
        on_leave: called after a component was dropped (to give its memory back to the device).
        within: components that lie in the same memory: its budget bounds both together.
    """

    def __init__(
        self,
        budget: int | None = None,
        *,
        on_leave: Callable[[], None] | None = None,
        within: Residency | None = None,
    ) -> None:
        self.budget = budget
        self._on_leave = on_leave
        self._within = within
        self._parts: list[Residency] = [self]
        if within:
            within._parts.append(self)
        self._residents: OrderedDict[Hashable, _Resident] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Bytes of all resident components."""
        return sum(one.bytes for one in self._residents.values())

    @property
    def held(self) -> int:
        """Bytes of these and of those within the same budget."""
        return sum(part.bytes for part in self._parts)

    @property
    def bytes_in_use(self) -> int:
        """Bytes of those that have users."""
        return sum(one.bytes for one in self._residents.values() if one.users)

    def room(self, beside: int = 0) -> int | None:
        """Bytes that a newcomer can have once all idle components have left; None = no bound.

        Args:
            beside: bytes that are needed besides, in the memory that these lie within.
        """
        bounds = [
            one.budget - sum(part.bytes_in_use for part in one._parts) - beside * (one is not self)
            for one in self._bounding()
            if one.budget is not None
        ]
        return max(0, min(bounds)) if bounds else None

    def users(self, key: Hashable) -> int:
        """How many use the component under ``key``."""
        return self._residents[key].users if key in self._residents else 0

    def drop_idle(self) -> list[str]:
        """Let all that nobody uses go; returns what they were, in plain words."""
        idle = {key: one.title for key, one in self._residents.items() if one.users == 0}
        for key in idle:
            self._drop(key)
        return list(idle.values())

    def trim(self) -> None:
        """Let idle ones go, the least recently used first, until the others are within the budget."""
        for one in self._bounding():
            one._let_go(0)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._residents

    def acquire(
        self,
        key: Hashable,
        title: str,
        size: int,
        load: Callable[[], Any],
        *,
        headroom: int = 0,
    ) -> Any:
        """The component under ``key``, loaded by ``load`` if it is not resident; counts one more user.

        Args:
            title: what it is, in plain words, for messages.
            size: bytes it takes once loaded.
            headroom: bytes that its work needs beside the weights (activations).

        Raises:
            ResourceError: it does not fit the budget even after all idle components left.
        """
        self._make_room(key, title, size, headroom)
        if key not in self._residents:
            self._residents[key] = _Resident(load(), size, title)
        self._residents.move_to_end(key)
        self._residents[key].users += 1
        return self._residents[key].value

    def release(self, key: Hashable) -> int:
        """One user less. The component stays until its room is needed.

        Returns:
            How many users it still has.
        """
        if key not in self._residents:
            return 0
        one = self._residents[key]
        one.users = max(0, one.users - 1)
        return one.users

    def resize(self, key: Hashable, size: int) -> None:
        """A component takes ``size`` bytes from now on."""
        self._residents[key].bytes = size

    def drop(self, key: Hashable) -> None:
        """Let one go now, if it is there."""
        if key in self._residents:
            self._drop(key)

    def clear(self) -> None:
        """Let everything go."""
        for key in list(self._residents):
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        del self._residents[key]
        if self._on_leave:
            self._on_leave()

    def _make_room(self, key: Hashable, title: str, size: int, headroom: int) -> None:
        """Also for a component that is there already: the budget or its work may have changed."""
        needed = headroom + (0 if key in self._residents else size)
        for one in self._bounding():
            if one._let_go(needed, key):
                continue
            others = [
                f"{other.title} {gigabytes(other.bytes)}"
                for part in one._parts
                for k, other in part._residents.items()
                if (part, k) != (self, key)
            ]
            raise ResourceError(
                f"{title} needs {gigabytes(size)} and {gigabytes(headroom)} to work in, the budget is "
                f"{gigabytes(one.budget or 0)}"
                + (f", of which in use: {', '.join(others)}" if others else ""),
                remedy="give [memory] a larger budget, or use a smaller size, precision or model",
            )

    def _bounding(self) -> list[Residency]:
        """Those whose budget bounds this one."""
        return [self, *([self._within] if self._within else [])]

    def _let_go(self, needed: int, but: Hashable = None) -> bool:
        """Have idle ones leave until so many bytes more are within the budget; whether they are then."""
        if self.budget is None:
            return True
        idle = [
            (part, key)
            for part in self._parts
            for key, one in part._residents.items()
            if one.users == 0 and key != but
        ]
        while (much := self.held + needed > self.budget) and idle:
            part, key = idle.pop(0)
            part._drop(key)
        return not much


def gigabytes(count: int) -> str:
    """A number of bytes for people: ``"11.4 GB"``, ``"7 MB"`` (decimal units)."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{max(1, round(count / 1e6)) if count > 0 else 0} MB"
