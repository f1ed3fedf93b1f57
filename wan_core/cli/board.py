"""What is going on in a run, gathered from its events: running tasks, their pace, the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import attrs

from wan_core.cli.forecast import Forecast, Running
from wan_core.cli.text import about, counted, duration
from wan_core.contract.events import Event, RunStarted, TaskFinished, TaskProgress, TaskStarted

WINDOW = 20
LONG = 60.0
"""Seconds: a run that is predicted to take longer tells its time left in plain lines, too."""


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

    def as_running(self, now: float) -> Running:
        """What the forecast of the whole run takes from it."""
        share = took = 0.0
        if self.total and self.samples:
            share = min(1.0, self.done / self.total)
            took = self.samples[-1][0] - self.started
        name = f"{self.stage} / {self.task}"
        return Running(name, now - self.started, share, took, self.seconds_left(now))

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
        self._forecast = Forecast()

    @property
    def running(self) -> list[Task]:
        """The tasks that have started and not finished."""
        return list(self._running.values())

    def clear(self) -> None:
        """Forget all tasks, and what was predicted."""
        self._running.clear()
        self._forecast = Forecast()

    def seconds_left(self) -> float | None:
        """Seconds until the end of the whole run; None where nothing was predicted."""
        now = self.clock()
        return self._forecast.seconds_left([task.as_running(now) for task in self.running])

    def whole_run(self) -> str | None:
        """``"whole run: about 2 min left"``."""
        left = self.seconds_left()
        return None if left is None else f"whole run: {about(left)} left"

    @property
    def is_long(self) -> bool:
        """Whether the whole run was predicted to take so long that its time left is worth a line."""
        return self._forecast.total > LONG

    def update(self, event: Event) -> str | None:
        """Take an event in; a finished task gives ``"generate: sampling, 30 steps, 12 s"``."""
        match event:
            case RunStarted(stages=stages, predicted=predicted):
                self._forecast = Forecast.of(predicted, stages)
            case TaskStarted(stage, task, total, unit):
                self._running[stage, task] = Task(stage, task, total, unit, self.clock())
                self._forecast.started(f"{stage} / {task}")
            case TaskProgress(stage, task, done):
                if running := self._running.get((stage, task)):
                    running.advance(done, self.clock())
            case TaskFinished(stage, task, seconds):
                text = f"{stage}: {task}"
                ended = self._running.pop((stage, task), None)
                self._forecast.finished(f"{stage} / {task}", seconds)
                if ended and ended.done:
                    text += f", {counted(ended.done, None, ended.unit)}"
                return f"{text}, {duration(seconds)}"
            case _:
                pass
        return None
