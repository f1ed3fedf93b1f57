"""What a run needs of the machine's memory, and whether it has that."""

from __future__ import annotations

from collections.abc import Mapping

from wan_core.contract.errors import ResourceError
from wan_core.memory import gigabytes
from wan_core.planning.bounds import Bounds
from wan_core.planning.machine import Machine
from wan_core.planning.plan import PlannedModel
from wan_core.planning.predict import CONTEXT, Phase
from wan_core.planning.wording import makeup
from wan_core.workflow import Workflow
from wan_core.workflow.spec import KNOBS


def shortages(machine: Machine, bounds: Bounds, phases: tuple[Phase, ...]) -> list[str]:
    """Notes on what this machine has no room for now; a plan may be made for another one."""
    free = machine.ram if bounds.vram is None else bounds.vram
    notes = [
        f"{phase.name} is predicted to need {gigabytes(phase.peak)}; {gigabytes(free)} are free here"
        for phase in phases
        if phase.peak > free
    ]
    most = max(phases, key=lambda phase: phase.files, default=None)
    if most and most.files:
        weights = most.host + most.files - most.fixed[1]
        notes.append(
            f"of {gigabytes(weights)} of weights outside the GPU, {gigabytes(most.files)} are more than "
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
        _check_host(workflow, bounds, phases)
        key, budget = "vram", bounds.stated_vram
    if budget is None:
        return
    if bounds.vram is not None and budget <= CONTEXT:
        raise ResourceError(
            f"CUDA alone takes about {gigabytes(CONTEXT)} of the GPU, the budget is {gigabytes(budget)}",
            where=workflow.source.where(f"memory.{key}"),
            remedy="state a larger budget",
        )
    help_of_all = "use a smaller size, fewer frames, a smaller precision or a larger budget"
    for phase in phases:
        if phase.peak <= budget:
            continue
        more = max(_more(m, phase.slot) for m in models.values())
        if more >= phase.peak - budget:
            raise _simulated_in_vain(workflow, phase, more, budget)
        swaps = any(m.placement(phase.slot).swapped for m in models.values())
        quantised = all(m.quantization for m in models.values())
        # how large the video is makes no difference to encoders
        encodes = phase.slot in ("text_encoder", "image_encoder")
        remedy = "use a smaller precision or a larger budget" if encodes else help_of_all
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


def _more(model: PlannedModel, slot: str) -> int:
    """Bytes that a component takes more because it is swapped within the memory in which it computes."""
    if model.on_gpu or not model.placement(slot).swapped:
        return 0
    return model.resident_bytes(slot) - model.weight_bytes(slot)


def _simulated_in_vain(workflow: Workflow, phase: Phase, more: int, budget: int) -> ResourceError:
    """The sentence for knobs without which there would be room: without a GPU they save none."""
    knobs = _asked(workflow)
    return ResourceError(
        f"{phase.name} is predicted to need {gigabytes(phase.peak)} ({makeup(phase)}), of which "
        f"{gigabytes(more)} because of {' and '.join(knobs)}: without a GPU swapped blocks are copied within "
        f"the same memory; the budget is {gigabytes(budget)}",
        where=workflow.source.where(f"memory.{knobs[0]}"),
        remedy=f"leave {' and '.join(knobs)} out, or state more ram",
    )


def _asked(workflow: Workflow) -> list[str]:
    """Keys of ``[memory]`` that ask for something to be swapped."""
    return [key for key in KNOBS if getattr(workflow.memory, key)]


def _check_host(workflow: Workflow, bounds: Bounds, phases: tuple[Phase, ...]) -> None:
    """Hold what lies in host memory beside a GPU to the budget that the workflow states.

    Raises:
        ResourceError: a part of the run needs more there, with all that can in files.
    """
    budget = bounds.stated_ram
    for phase in phases:
        if budget is None or phase.host <= budget:
            continue
        outside, buffers = phase.fixed
        needed = (
            f"at least {gigabytes(phase.host)} of RAM ({gigabytes(outside)} of weights that are in no block, "
            f"{gigabytes(buffers)} for two blocks on their way from files)"
            if buffers
            else f"{gigabytes(phase.host)} of RAM, where it computes"
        )
        knobs = _asked(workflow)
        without = f", or leave {' and '.join(knobs)} out" if buffers and knobs else ""
        raise ResourceError(
            f"{phase.name} is predicted to need {needed}, the budget is {gigabytes(budget)}",
            where=workflow.source.where("memory.ram"),
            remedy=f"state more ram, or less is swapped with a smaller precision or more vram{without}",
        )
