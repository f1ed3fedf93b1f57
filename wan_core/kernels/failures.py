"""Kernels that can't be built or launched here: their references serve, and whoever runs them hears of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Tell = Callable[[str, str], None]

log = logging.getLogger(__name__)


class _Region:
    """Who hears what fails, each thing once."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.told: set[str] = set()


def _log(what: str, instead: str) -> None:
    log.warning("%s, so %s", what, instead)


_everywhere = _Region(_log)
_region: ContextVar[_Region] = ContextVar("_region", default=_everywhere)


@contextmanager
def telling(tell: Tell) -> Iterator[None]:
    """A region in which ``tell`` hears what failed and what is done instead; else the log does.

    It also hears, once, of a kernel that failed before and would have been used.
    """
    token = _region.set(_Region(tell))
    try:
        yield
    finally:
        _region.reset(token)


def reason(error: Exception) -> str:
    """One printable line of why a kernel failed."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in text)


def failed(what: str, instead: str, why: str) -> None:
    """A kernel has failed, now or before, and is not tried again in this process."""
    region = _region.get()
    if what not in region.told:
        region.told.add(what)
        region.tell(f"{what} failed ({why})", instead)
