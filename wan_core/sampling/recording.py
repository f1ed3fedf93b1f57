"""Recording: what the sampling loop leaves behind so that a run that was cut short can go on.

Whoever runs a stage opens a store around it, and every call of :func:`wan_core.sampling.sample` inside finds
it, is counted, and records itself: no stage and no plugin has a line for it. A call that is over gives its
result when the stage is repeated; the one that was cut short goes on at its last recorded step.

::

    with recorded(store):
        run(context)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Protocol

import attrs
from torch import Tensor

from wan_core.sampling.state import SamplerState


class Store(Protocol):
    """Where states are kept between processes. Trouble in it never stops a run."""

    def stored(self, call: int, most: int) -> Iterator[Mapping[str, Tensor]]:
        """What is kept of a call of this stage, newest first.

        Args:
            call: number of the call, from 0.
            most: bytes that it may have, less mutable states.
        """
        ...

    def is_due(self) -> bool:
        """Whether it is time to keep the next state."""
        ...

    def store(self, call: int, stored: Mapping[str, Tensor], step: int, steps: int) -> None:
        """Keep the state after ``step`` of ``steps`` steps: whole, or the one before stays."""
        ...

    def tell(self, text: str, *, level: str = "warning") -> None:
        """Say what the user should know, as a :class:`~wan_core.contract.events.Note`."""
        ...


@attrs.define(eq=False)
class Record:
    """The record of one call of the loop.

    Attributes:
        call: its number within the stage.
        steps: of its schedule.
    """

    store: Store
    call: int
    steps: int
    _last: int = attrs.field(default=0, init=False)

    def load(self, state: SamplerState) -> None:
        """Bring a state to where the call was cut short, or to its end; else leave it as it is."""
        for stored in self.store.stored(self.call, state.most_bytes()):
            try:
                state.restore(stored, self.steps)
            except ValueError as error:
                self.store.tell(f"a kept state of sampling does not fit ({error})")
                continue
            self._last = state.index
            if state.index < self.steps:
                text = f"sampling goes on after step {state.index} of {self.steps}"
                self.store.tell(text, level="info")
            return
        if state.stateless:
            self.store.tell(
                f'the solver of "{state.stateless[0]}" can\'t give its state, so a stage that was cut '
                "short begins anew"
            )

    def after_step(self, state: SamplerState) -> None:
        """Keep the state, if it is time to; the first one always is kept."""
        if state.index < self.steps and (not self._last or self.store.is_due()):
            self._store(state)

    def cut_short(self, state: SamplerState) -> None:
        """Keep what there is, because the run is about to end, or to go on otherwise."""
        if state.index > self._last and state.whole:
            self._store(state)

    def finish(self, state: SamplerState) -> None:
        """Keep the result."""
        if state.index != self._last:
            self.store.store(self.call, state.result(), state.index, self.steps)

    def _store(self, state: SamplerState) -> None:
        self._last = state.index
        if not state.stateless:
            self.store.store(self.call, state.snapshot(), state.index, self.steps)


@attrs.define(eq=False)
class _Stage:
    store: Store
    calls: Iterator[int] = attrs.field(factory=count, init=False)


_stage: ContextVar[_Stage | None] = ContextVar("_stage", default=None)


@contextmanager
def recorded(store: Store) -> Iterator[None]:
    """A region that runs one stage; calls of the loop in it are recorded in ``store``."""
    token = _stage.set(_Stage(store))
    try:
        yield
    finally:
        _stage.reset(token)


def next_record(steps: int) -> Record | None:
    """The record of a call that begins; None where nobody records."""
    stage = _stage.get()
    return Record(stage.store, next(stage.calls), steps) if stage else None
