"""What is going on in a run, gathered from its events: running tasks, their pace, the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import attrs

from wan_core.cli.text import counted, duration
from wan_core.contract.events import Event, TaskFinished, TaskProgress, TaskStarted

WINDOW = 20


@attrs.define
class Task:
    """A running task.

    Attributes:
        samples: (clock, done) of the last updates; the start of the task is the first one.
    """

    stage: str
    task: str
    total: int | None
    unit: str
    started: float
    done: int = 0
    samples: deque[tuple[float, int]] = attrs.field(factory=lambda: deque(maxlen=WINDOW))

    def advance(self, done: int, now: float) -> None:
        """``done`` units are done."""
        self.done = done
        self.samples.append((now, done))

    def seconds_left(self, now: float) -> float | None:
        """Estimate from the pace of the last updates; None while there is none.

        What came before the first update counts only until there is a second one: it contains the
        warm-up. When the update that is due is late, the pace is taken to be as slow as that.
        """
        if self.total is None or not self.samples:
            return None
        points = list(self.samples)
        if len(points) < 2:
            points.insert(0, (self.started, 0))
        (first_time, first_done), (last_time, last_done) = points[0], points[-1]
        if last_done <= first_done:
            return None
        updates = len(points) - 1
        interval = (last_time - first_time) / updates
        updates_left = (self.total - last_done) * updates / (last_done - first_done)
        waited = now - last_time
        return max(0.0, max(interval, waited) * updates_left - waited)

    def sentence(self, now: float) -> str:
        """``"generate: sampling 12/30 steps, 3 s left"``."""
        text = f"{self.stage}: {self.task}"
        if self.total is None and not self.done:
            return f"{text}, {duration(now - self.started)}"
        text = f"{text} {counted(self.done, self.total, self.unit)}"
        left = self.seconds_left(now)
        if left is None:
            return text
        return f"{text}, {duration(left) if left >= 59.5 else f'{round(left)} s'} left"


class Board:
    """The running tasks in the order in which they started, kept up to date by events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._running: dict[tuple[str, str], Task] = {}

    @property
    def running(self) -> list[Task]:
        """The tasks that have started and not finished."""
        return list(self._running.values())

    def clear(self) -> None:
        """Forget all tasks."""
        self._running.clear()

    def update(self, event: Event) -> str | None:
        """Take an event in; a finished task gives ``"generate: sampling, 30 steps, 12 s"``."""
        match event:
            case TaskStarted(stage, task, total, unit):
                self._running[stage, task] = Task(stage, task, total, unit, self.clock())
            case TaskProgress(stage, task, done):
                if running := self._running.get((stage, task)):
                    running.advance(done, self.clock())
            case TaskFinished(stage, task, seconds):
                text = f"{stage}: {task}"
                ended = self._running.pop((stage, task), None)
                if ended and ended.done:
                    text += f", {counted(ended.done, None, ended.unit)}"
                return f"{text}, {duration(seconds)}"
            case _:
                pass
        return None
