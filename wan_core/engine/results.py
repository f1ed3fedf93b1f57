"""What comes of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from wan_core.contract.events import Recovered


@attrs.frozen
class RunResult:
    """What a run made and what it took.

    Attributes:
        outputs: files written.
        seconds: wall-clock time by stage and task (``"generate / sampling"``).
        peak_ram: highest resident memory of the process, in bytes.
        peak_vram: highest memory allocated on the device, in bytes; None on the CPU.
        predicted_peak: what the plan predicted of the device, in bytes; 0 = nothing.
        moved: bytes of swapped units that were copied to the device.
        hidden: share of that copying that went on beside computing, 0…1; None when nothing was copied. On the
            CPU, where copies are simulated, the share of those that nobody waited for.
        recoveries: what failed, and how the run went on.
    """

    outputs: tuple[Path, ...]
    seconds: Mapping[str, float]
    peak_ram: int
    peak_vram: int | None
    predicted_peak: int = 0
    moved: int = 0
    hidden: float | None = None
    recoveries: tuple[Recovered, ...] = ()


@attrs.frozen
class SweepResult:
    """What came of the runs of a sweep.

    Attributes:
        outcomes: of each run in order, its :class:`RunResult` or what made it fail.
        sheet: a picture with some frames of each result; None when there is nothing to show.
    """

    outcomes: tuple[RunResult | Exception, ...]
    sheet: Path | None

    @property
    def failures(self) -> tuple[Exception, ...]:
        """What went wrong, in order."""
        return tuple(one for one in self.outcomes if isinstance(one, Exception))
