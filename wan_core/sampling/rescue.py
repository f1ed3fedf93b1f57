"""Steps that are tried again: when memory runs out in one, whoever runs the stage makes room.

Like recording (:mod:`wan_core.sampling.recording`) it needs no line in a stage or a plugin::

    with rescued(make_room):
        run(context)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

from wan_core.kernels import as_shortage
from wan_core.memory import let_go

T = TypeVar("T")

_make_room: ContextVar[Callable[[], None] | None] = ContextVar("_make_room", default=None)


@contextmanager
def rescued(make_room: Callable[[], None]) -> Iterator[None]:
    """A region in which a step that runs out of memory is repeated.

    Args:
        make_room: called when that has happened, after the frames of the error are gone; raises what ends the
            run when there is no room to be made.
    """
    token = _make_room.set(make_room)
    try:
        yield
    finally:
        _make_room.reset(token)


def persistently(
    step: Callable[[], T], may_repeat: Callable[[], bool], keep: Callable[[], None]
) -> T:
    """Call ``step`` until it does not run out of memory, or nobody can help.

    Args:
        may_repeat: whether a step that failed has left everything as it was.
        keep: called before room is made, after which the same steps may give other bits.
    """
    make_room = _make_room.get()
    while True:
        try:
            with as_shortage():
                return step()
        except torch.OutOfMemoryError as error:
            if make_room is None or not may_repeat():
                raise
            let_go(error)
        try:
            with as_shortage():
                keep()
        except torch.OutOfMemoryError as error:  # what is on the device may need some to leave it
            let_go(error)
        make_room()
