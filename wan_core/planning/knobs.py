"""What the workflow says of block swap itself: whether the models can do it, and whether it fits the budget."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from wan_core.contract.errors import ResourceError, WorkflowError
from wan_core.memory import gigabytes
from wan_core.planning.bounds import Bounds
from wan_core.planning.placements import PART_KNOBS, Staged, demands_of, knobs_of
from wan_core.planning.placing import Demand, Knobs, Placed, choose
from wan_core.planning.plan import PlannedModel
from wan_core.planning.predict import CONTEXT
from wan_core.planning.unit_sizes import UnitSizes
from wan_core.workflow import Workflow

__all__ = ["SIMULATED", "check_knobs", "refuse_contradictions", "simulated"]

SIMULATED = "blocks are swapped within the memory of the CPU: it takes no less, and some more for their copies"


def check_knobs(workflow: Workflow, models: Mapping[str, PlannedModel]) -> None:
    """Refuse what no model of the workflow could do.

    Raises:
        WorkflowError: more blocks than there are, or a part in host memory that there is not.
    """
    memory = workflow.memory
    stacks = [
        model.sizes[slot]
        for model in models.values()
        for slot in model.family.slots("transformer")
        if slot in model.sizes
    ]
    most = max((len(one.units) for one in stacks), default=0)
    for key in ("blocks_to_swap", "prefetch_blocks"):
        count = getattr(memory, key)
        if count and count > most:
            has = (
                f"the transformer has {most} blocks" if most else "no model here is made of blocks"
            )
            raise WorkflowError(
                f"{key} = {count}, but {has}",
                where=workflow.source.where(f"memory.{key}"),
                remedy=f"write a number up to {most}, or leave the key out"
                if most
                else "leave the key out",
            )
    for (key, part), what in zip(PART_KNOBS.items(), ("text", "image"), strict=True):
        if getattr(memory, key) and not any(part in one.parts for one in stacks):
            raise WorkflowError(
                f"{key} = true, but the transformer has no {what} embedding",
                where=workflow.source.where(f"memory.{key}"),
                remedy="leave the key out",
            )


def refuse_contradictions(
    workflow: Workflow, models: Mapping[str, PlannedModel], staged: Staged, bounds: Bounds
) -> None:
    """Refuse knobs that ask for more than the budget, stated or what is free, with the arithmetic.

    Raises:
        ResourceError: the first transformer that does not fit because of them.
    """
    for model in models.values():
        budget = bounds.vram if model.on_gpu else None
        if budget is None:
            continue
        for slot, demand in demands_of(model, staged):
            knobs = knobs_of(workflow.memory, model, slot)
            if knobs == Knobs():
                continue
            placed = choose(demand, budget, knobs)
            # without them it would not fit either: the budget itself is refused
            if not placed.fits and choose(demand, budget).fits:
                raise _contradiction(workflow, demand, knobs, placed, budget)


def simulated(models: Mapping[str, PlannedModel]) -> list[str]:
    """A note where blocks are swapped without a GPU."""
    swaps = any(not m.on_gpu and p.swapped for m in models.values() for p in m.placements.values())
    return [SIMULATED] if swaps else []


def _contradiction(
    workflow: Workflow, demand: Demand, knobs: Knobs, placed: Placed, budget: int
) -> ResourceError:
    """The sentence for the knob that does it, or for all of them together."""
    sizes = demand.sizes
    if knobs.swapped is not None and (better := _fewest(demand, knobs, budget)) is not None:
        key, asked = "blocks_to_swap", knobs.swapped
        problem = f"{key} = {asked} leaves {len(sizes.units) - asked} blocks of "
        problem += f"{_each(sizes)} on the device"
        remedy = f"swap {better} or more, or leave the key out"
    elif knobs.prefetch and choose(demand, budget, attrs.evolve(knobs, prefetch=None)).fits:
        key = "prefetch_blocks"
        problem = f"{key} = {knobs.prefetch} takes {knobs.prefetch + 1} slots of {_each(sizes)}"
        remedy = "write a smaller number, or leave the key out"
    else:
        said = {
            "blocks_to_swap": knobs.swapped,
            "prefetch_blocks": knobs.prefetch,
            **{name: knobs.parts.get(part) for name, part in PART_KNOBS.items()},
        }
        given = {name: value for name, value in said.items() if value is not None}
        key = next(iter(given))
        values = ", ".join(f"{name} = {str(value).lower()}" for name, value in given.items())
        problem = f"{values} can't be met"
        remedy = "leave out some of these keys"
    held = placed.peak - placed.weights - placed.activations - CONTEXT
    return ResourceError(
        f"{problem}: {gigabytes(placed.weights)} of weights with the slots of swapped ones, "
        f"{gigabytes(placed.activations)} of activations, {gigabytes(held)} that the allocator holds back "
        f"and {gigabytes(CONTEXT)} for CUDA make {gigabytes(placed.peak)}; the budget is {gigabytes(budget)}",
        where=workflow.source.where(f"memory.{key}"),
        remedy=remedy,
    )


def _fewest(demand: Demand, knobs: Knobs, budget: int) -> int | None:
    """The fewest blocks that fit with the other knobs as they are; None = no number does."""
    for swapped in range(len(demand.sizes.units) + 1):
        if choose(demand, budget, attrs.evolve(knobs, swapped=swapped)).fits:
            return swapped
    return None


def _each(sizes: UnitSizes) -> str:
    """``"0.70 GB"``: blocks are nearly equal."""
    return f"{max(sizes.units.values()) / 1e9:.2f} GB"
