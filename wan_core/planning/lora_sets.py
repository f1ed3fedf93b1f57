"""Which LoRA files lie beside a model's weights, and how strongly each counts in a stage.

The files of all stages lie there together, so that one set of weights serves them all: a stage switches on what
is its own, by strengths. What several stages share lies there once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from wan_core.contract.errors import WorkflowError
from wan_core.planning.loras import PlannedLora

__all__ = ["OFF", "beside", "refuse_long", "strengths"]

OFF = (0.0,)
Own = Sequence[PlannedLora]
"""The files of a model, of which some are merged."""
OfStages = Mapping[str, Sequence[PlannedLora]]
"""Those of its stages, by their names."""


def beside(slot: str, own: Own, of_stages: OfStages) -> tuple[PlannedLora, ...]:
    """The files that lie beside the weights of a slot: the model's, then those of its stages, each once."""
    shared: dict[Hashable, PlannedLora] = {}
    for files in of_stages.values():
        shared |= {key: file for key, file in _numbered(files, slot).items() if key not in shared}
    return (*_apart(own, slot), *shared.values())


def strengths(
    stage: str, slot: str, own: Own, of_stages: OfStages
) -> tuple[tuple[float, ...], ...]:
    """Of each of the files that :func:`beside` gives, step by step, in a stage."""
    shared: dict[Hashable, tuple[float, ...]] = {}
    for name, files in of_stages.items():
        for key, file in _numbered(files, slot).items():
            if name == stage:
                shared[key] = file.use.strengths
            else:
                shared.setdefault(key, OFF)
    return (*(file.use.strengths for file in _apart(own, slot)), *shared.values())


def _apart(files: Own, slot: str) -> list[PlannedLora]:
    return [file for file in files if file.apart and file.changes.get(slot)]


def _numbered(files: Own, slot: str) -> dict[Hashable, PlannedLora]:
    """By what makes their numbers; a stage may name a file twice."""
    seen: Counter[Hashable] = Counter()
    found: dict[Hashable, PlannedLora] = {}
    for file in _apart(files, slot):
        found[file.key, seen[file.key]] = file
        seen[file.key] += 1
    return found


def refuse_long(file: PlannedLora, steps: int, where: str) -> None:
    """Refuse a list of more strengths than there are steps; the last of a shorter one goes on.

    Raises:
        WorkflowError: some would never count.
    """
    count = len(file.use.strengths)
    if count > max(1, steps):
        raise WorkflowError(
            f"strength has {count} numbers for {steps} step{'s' * (steps != 1)}",
            where=where,
            remedy="give one for each step at most",
        )
