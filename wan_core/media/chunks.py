"""``Chunks``: anything that can be iterated, as a source of chunks (a contract protocol)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

import attrs


@final
@attrs.define(eq=False)
class Chunks:
    """A source of chunks made from a function that starts it.

    ``Chunks(open)`` calls ``open()`` for every reader and may be read again and again;
    ``Chunks.once(iterable)`` wraps what can only be read once, such as a generator.
    """

    open: Callable[[], Iterable[Any]]
    replayable: bool = True
    _opened: bool = attrs.field(default=False, init=False)

    @classmethod
    def once(cls, iterable: Iterable[Any]) -> Chunks:
        """A source for one reader."""
        return cls(lambda: iterable, replayable=False)

    def __iter__(self) -> Iterator[Any]:
        if self._opened and not self.replayable:
            raise RuntimeError("this source has been read already and can't be replayed")
        self._opened = True
        return iter(self.open())
