"""Events of a run, streamed to whoever listens: the progress bar, ``--json`` lines, plugins, tests.

Each event is frozen and turns into a flat JSON object by :func:`to_dict`; the names of its fields are part
of the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PICTURES = "pictures"
"""Marks fields, in their metadata, that no JSON object has."""


@attrs.frozen
class Event:
    """Base of all events."""


@attrs.frozen
class RunStarted(Event):
    """The plan is made.

    Attributes:
        workflow: the file's name.
        stages: their names in order.
        label: of a sweep, which of its runs this is (``"seed 7"``).
        predicted: seconds by stage and task (``"generate / sampling"``) in the order of the run, where they
            could be predicted.
    """

    workflow: str
    stages: tuple[str, ...]
    label: str = ""
    predicted: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen
class StageStarted(Event):
    """A stage begins."""

    stage: str


@attrs.frozen
class TaskStarted(Event):
    """A long step begins: loading, compiling, encoding, sampling, decoding, writing.

    Attributes:
        task: what is done, in plain words.
        total: number of units, None when unknown.
        unit: what is counted (``"step"``, ``"frame"``, ``"MB"``).
    """

    stage: str
    task: str
    total: int | None = None
    unit: str = ""


@attrs.frozen
class TaskProgress(Event):
    """``done`` units of the task are done."""

    stage: str
    task: str
    done: int


@attrs.frozen(eq=False)
class Preview(Event):
    """What the video looks like so far; sent only in runs that were asked for previews, and not every step.

    Attributes:
        step, steps: the step that was done, from 1, and their number.
        fps: frames per second at which the pictures play at the video's pace.
        frames: some of the video's frames, evenly spaced and small, ``[frames, height, width, 3]`` uint8;
            not in JSON.
    """

    stage: str
    step: int
    steps: int
    fps: float
    frames: NDArray[np.uint8] = attrs.field(repr=False, metadata={PICTURES: True})


@attrs.frozen
class TaskFinished(Event):
    """The task is over; ``seconds`` is its wall-clock time."""

    stage: str
    task: str
    seconds: float


@attrs.frozen
class StageFinished(Event):
    """A stage is over."""

    stage: str
    seconds: float


@attrs.frozen
class Note(Event):
    """Something the user should know but that does not stop the run."""

    text: str
    level: str = "info"


@attrs.frozen
class Recovered(Event):
    """Something failed, and the run goes on in another way.

    Attributes:
        task: what was being done.
        what: what failed.
        how: what is done instead.
        exact: the result has the same bits as without it.
    """

    stage: str
    task: str
    what: str
    how: str
    exact: bool = True

    def __str__(self) -> str:
        place = " / ".join(filter(None, (self.stage, self.task)))
        return f"{place}: {self.what}; {self.how}" if place else f"{self.what}; {self.how}"


@attrs.frozen
class RunFinished(Event):
    """The run is over.

    Attributes:
        outputs: files written.
        seconds: wall-clock time by stage and task (``"generate / sampling"``).
        peak_ram: highest resident memory of the process in bytes.
        peak_vram: highest memory allocated on the device in bytes, None without one.
        predicted_peak: what the plan predicted of the device in bytes, 0 = nothing.
        moved: bytes of swapped units that were copied to the device.
        hidden: share of that copying that went on beside computing, 0…1; None when nothing was copied.
    """

    outputs: tuple[str, ...]
    seconds: Mapping[str, float]
    peak_ram: int
    peak_vram: int | None = None
    predicted_peak: int = 0
    moved: int = 0
    hidden: float | None = None


@attrs.frozen
class RunFailed(Event):
    """The run stopped; ``error`` is the sentence the user reads."""

    error: str
    exit_code: int


@attrs.frozen
class SweepFinished(Event):
    """All runs of a sweep are over.

    Attributes:
        outputs: files written.
        failed: number of runs that failed.
        sheet: a picture with some frames of each result.
    """

    outputs: tuple[str, ...]
    failed: int
    sheet: str | None = None


@attrs.frozen
class RerunCompared(Event):
    """A video was made again, and the two were compared.

    Attributes:
        equal: all frames have the same bits.
        frames: number of frames that were compared.
        first_difference: the first frame that differs; None when all are equal.
        max_difference: the largest difference of a value, of 255.
        changed: what is not as it was: versions, device, threads …
    """

    equal: bool
    frames: int
    first_difference: int | None
    max_difference: int
    changed: tuple[str, ...] = ()


Listener = Callable[[Event], None]


def to_dict(event: Event) -> dict[str, Any]:
    """The event as a flat JSON object, its kind under ``"event"``; without pictures."""
    fields = attrs.asdict(event, filter=lambda field, _: PICTURES not in field.metadata)
    return {"event": type(event).__name__, **fields}
