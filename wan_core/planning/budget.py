"""What a run needs of the machine's memory, and whether it has that."""

from __future__ import annotations

from collections.abc import Mapping

from wan_core.contract.errors import ResourceError
from wan_core.memory import gigabytes
from wan_core.planning.bounds import Bounds
from wan_core.planning.machine import Machine
from wan_core.planning.plan import PlannedModel
from wan_core.planning.predict import Phase
from wan_core.planning.wording import makeup
from wan_core.workflow import Workflow


def shortages(machine: Machine, bounds: Bounds, phases: tuple[Phase, ...]) -> list[str]:
    """Notes on what this machine has no room for now; a plan may be made for another one."""
    free = machine.ram if bounds.vram is None else bounds.vram
    notes = [
        f"{phase.name} is predicted to need {gigabytes(phase.peak)}; {gigabytes(free)} are free here"
        for phase in phases
        if phase.peak > free
    ]
    host = max((phase.host for phase in phases), default=0)
    if bounds.vram is not None and host > bounds.host:
        notes.append(
            f"of {gigabytes(host)} of weights outside the GPU, {gigabytes(host - bounds.host)} are more than "
            "RAM may hold: they are read from memory-mapped files in every pass, which is slow"
        )
    return notes


def check_budget(
    workflow: Workflow,
    bounds: Bounds,
    phases: tuple[Phase, ...],
    models: Mapping[str, PlannedModel],
) -> None:
    """Hold the run to the budget that the workflow states.

    Raises:
        ResourceError: a part of the run is predicted to need more, however its units are placed.
    """
    key, budget = "ram", bounds.stated_ram
    if bounds.vram is not None:
        key, budget = "vram", bounds.stated_vram
    if budget is None:
        return
    help_of_all = "use a smaller size, fewer frames, a smaller precision or a larger budget"
    for phase in phases:
        if phase.peak <= budget:
            continue
        swaps = any(m.placement(phase.slot).swapped for m in models.values())
        quantised = all(m.quantization for m in models.values())
        remedy = help_of_all
        if phase.context and swaps and not quantised:
            remedy = (
                "use a smaller size, fewer frames, quantization (fp8_e4m3fn) or a larger budget"
            )
        least = "at least " if swaps and phase.context else ""
        raise ResourceError(
            f"{phase.name} is predicted to need {least}{gigabytes(phase.peak)} ({makeup(phase)}), the "
            f"budget is {gigabytes(budget)}",
            where=workflow.source.where(f"memory.{key}"),
            remedy=remedy,
        )
