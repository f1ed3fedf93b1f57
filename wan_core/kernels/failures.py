"""Kernels that can't be built or launched here: their references serve, and whoever runs them hears of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Tell = Callable[[str, str], None]

log = logging.getLogger(__name__)
_tell: ContextVar[Tell | None] = ContextVar("_tell", default=None)


@contextmanager
def telling(tell: Tell) -> Iterator[None]:
    """A region in which ``tell`` hears what failed and what is done instead; else the log does."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def failed(what: str, instead: str, error: Exception) -> None:
    """A kernel has failed, and is not tried again in this process."""
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    printable = "".join(char if char.isprintable() else "?" for char in reason)
    tell = _tell.get()
    if tell:
        tell(f"{what} failed ({printable})", instead)
    else:
        log.warning("%s failed, so %s: %s", what, instead, printable)
