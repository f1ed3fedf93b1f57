"""The same run on GPUs of several sizes, whether this machine has a GPU or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from wan_core.contract.placement import RESIDENT, Placement
from wan_core.planning.bounds import Bounds, bounds_of
from wan_core.planning.calibration import find_calibration
from wan_core.planning.known import Known, what_is_known
from wan_core.planning.machine import Machine, look, precision
from wan_core.planning.phases import predict_run
from wan_core.planning.placements import Staged, place
from wan_core.planning.plan import Plan, PlannedModel, PlannedStage
from wan_core.planning.timing import predict_seconds
from wan_core.planning.wording import placed
from wan_core.workflow import MemorySpec

__all__ = ["BudgetRow", "table_of_budgets"]

ASSUMED = "cuda:0"


@attrs.frozen
class BudgetRow:
    """What a run would do on a GPU of which it may have so much.

    Attributes:
        budget: bytes of the GPU's memory.
        fits: whether the whole run does, in RAM as well where that is bounded.
        peak: predicted peak there.
        part: where that is: ``"generate / sampling"``.
        ram: predicted peak of what lies in host memory, in ``ram_part``; where the workflow doesn't bound it,
            what would have to be there for all to have room.
        files: bytes of weights that have no room there, and are read from files in every pass.
        swapped, blocks: blocks of the transformer that are swapped, of so many; of two experts, of the one with
            more swapped.
        prefetch: of them on their way while one computes.
        rows: that the transformer handles at a time; None = all of them.
        text_encoder: where it computes, in words.
        seconds: predicted; None = the GPU is not calibrated.
    """

    budget: int
    fits: bool
    peak: int
    part: str
    ram: int
    ram_part: str
    files: int
    swapped: int
    blocks: int
    prefetch: int
    rows: int | None
    text_encoder: str
    seconds: float | None


def table_of_budgets(
    plan: Plan, memory: MemorySpec, budgets: Sequence[int]
) -> tuple[BudgetRow, ...]:
    """A row for each budget.

    Where the machine has no GPU, one is assumed that computes in bfloat16 unless the workflow says otherwise.

    Args:
        plan: of the run, made for this machine.
        memory: what the workflow says beside the budget of the GPU.
        budgets: in bytes.
    """
    machine = plan.machine
    if machine.vram is None:
        machine = attrs.evolve(machine, device=ASSUMED, title="assumed GPU", vram=0)
    models = {name: _on(machine, plan, model) for name, model in plan.models.items()}
    staged = [(stage, what_is_known(stage, models)) for stage in plan.stages]
    here = bounds_of(attrs.evolve(memory, vram=None), machine)
    return tuple(
        _row(
            plan,
            models,
            staged,
            memory,
            machine,
            attrs.evolve(here, vram=budget, stated_vram=budget),
        )
        for budget in budgets
    )


def _on(machine: Machine, plan: Plan, model: PlannedModel) -> PlannedModel:
    """A model as it would be on the machine."""
    dtype = precision(plan.workflow.models[model.name].precision, machine.device)
    return model.on(machine.device, dtype)


def _row(
    plan: Plan,
    models: Mapping[str, PlannedModel],
    staged: Staged,
    memory: MemorySpec,
    machine: Machine,
    bounds: Bounds,
) -> BudgetRow:
    found = find_calibration(machine)[0], find_calibration(look("cpu"))[0]
    models = place(models, staged, memory, bounds, plan.texts, found)
    known: list[tuple[PlannedStage, Known | None]] = [
        (stage, one and one.under(models)) for stage, one in staged
    ]
    phases = predict_run(known, bounds.stated_ram)
    highest = max(phases, key=lambda phase: phase.peak, default=None)
    seconds, _ = predict_seconds(known, models, plan.texts, machine)
    fullest = max(phases, key=lambda phase: phase.host, default=None)
    peak, budget = highest.peak if highest else 0, bounds.vram or 0
    ram = fullest.host if fullest else 0
    placement, swapped, blocks = _transformer(models)
    return BudgetRow(
        budget,
        peak <= budget and (bounds.stated_ram is None or ram <= bounds.stated_ram),
        peak,
        highest.name if highest else "",
        ram,
        fullest.name if fullest and ram else "",
        max((phase.files for phase in phases), default=0),
        swapped,
        blocks,
        min(placement.prefetch, swapped),
        placement.rows,
        _text_encoder(models),
        sum(seconds.values()) if seconds else None,
    )


def _transformer(models: Mapping[str, PlannedModel]) -> tuple[Placement, int, int]:
    """The placement with the most swapped blocks, how many, and of how many."""
    found = [
        (model.placement(slot), model.sizes[slot])
        for model in models.values()
        for slot in model.family.slots("transformer")
        if slot in model.sizes
    ]
    counted = [
        (placement, sum(name in sizes.units for name in placement.swapped), len(sizes.units))
        for placement, sizes in found
    ]
    return max(counted, key=lambda one: one[1], default=(RESIDENT, 0, 0))


def _text_encoder(models: Mapping[str, PlannedModel]) -> str:
    slot = "text_encoder"
    for model in models.values():
        if model.placement(slot).device == "cpu":
            return "CPU"
        if slot in model.placements:
            return f"GPU, {placed(model.placement(slot), model.sizes[slot], brief=True)}"
    return "GPU"
