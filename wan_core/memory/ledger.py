"""The ledger: what time and memory a run really took, beside what was predicted."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wan_core.contract.events import Event, Note, TaskFinished, TaskProgress, TaskStarted
from wan_core.memory.meter import Traffic, UnitTimes

if TYPE_CHECKING:
    import torch


class Ledger:
    """Times every long step, reports it as events, and reads the peaks of memory.

    Args:
        emit: hears the events.
        device: whose memory is read.
        each_unit: tell of every use of a swapped unit.

    Attributes:
        seconds: of all finished steps, by stage and task.
        traffic: what swapped units have moved.
        doing: the step that goes on, as ``(stage, task)``.
    """

    def __init__(
        self, emit: Callable[[Event], None], device: torch.device, *, each_unit: bool = False
    ) -> None:
        self._emit = emit
        self._device = device
        self._each_unit = each_unit
        self.seconds: dict[str, float] = {}
        self.traffic = Traffic()
        self.doing = ("", "")
        self._failed: tuple[str, str] | None = None
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def task(
        self, stage: str, task: str, *, total: int | None = None, unit: str = ""
    ) -> Iterator[Callable[[int], None]]:
        """A long step. Yields ``progress(done)``."""
        self._emit(TaskStarted(stage, task, total, unit))
        start = time.perf_counter()
        around, self.doing = self.doing, (stage, task)
        try:
            yield lambda done: self._emit(TaskProgress(stage, task, done))
        except BaseException:
            self._failed = self._failed or (stage, task)
            raise
        finally:
            self.doing = around
        self._failed = None
        seconds = time.perf_counter() - start
        key = f"{stage} / {task}"
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds
        self._emit(TaskFinished(stage, task, seconds))

    def failed(self) -> tuple[str, str]:
        """The innermost step that an error has ended since one was asked for, else the one that goes on."""
        found, self._failed = self._failed or self.doing, None
        return found

    @property
    def tell_of_units(self) -> Callable[[UnitTimes], None] | None:
        """Tells of the use of a unit; None where nobody asked for that."""
        return (lambda times: self._emit(Note(str(times)))) if self._each_unit else None

    def tell(self, event: Event) -> None:
        """Pass an event on."""
        self._emit(event)

    def note(self, text: str, level: str = "info") -> None:
        """Tell something that does not stop the run."""
        self._emit(Note(text, level))

    def seconds_of(self, stage: str) -> float:
        """Seconds of all finished tasks of a stage."""
        return sum(s for key, s in self.seconds.items() if key.startswith(f"{stage} / "))

    @property
    def peak_ram(self) -> int:
        """Highest resident memory of this process so far, in bytes (of the whole process's life)."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    @property
    def peak_vram(self) -> int | None:
        """Highest memory allocated on the device during this run, in bytes; None on the CPU."""
        if self._device.type != "cuda":
            return None
        import torch

        return torch.cuda.max_memory_allocated(self._device)
