"""Where the components of all models lie: each placed so that every stage that uses it fits the bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from wan_core.contract.placement import Placement
from wan_core.models.wan.files import IMAGE_EMBEDDING, TEXT_EMBEDDING
from wan_core.planning.bounds import Bounds
from wan_core.planning.calibration import Calibration
from wan_core.planning.known import Known
from wan_core.planning.phases import ROWS, TEXT_ACTIVATIONS, Need, needs_of
from wan_core.planning.placing import Demand, Effort, Knobs, Placed, choose, traffic
from wan_core.planning.plan import PlannedModel, PlannedStage
from wan_core.planning.predict import CONTEXT, held_back
from wan_core.planning.sharing import shared
from wan_core.planning.timing import encoding_seconds, forward_seconds, has_rates
from wan_core.planning.unit_sizes import UnitSizes
from wan_core.workflow import MemorySpec

__all__ = ["PART_KNOBS", "demands_of", "knobs_of", "place"]

PART_KNOBS: Mapping[str, str] = {
    "offload_txt_emb": TEXT_EMBEDDING,
    "offload_img_emb": IMAGE_EMBEDDING,
}
"""Keys of ``[memory]`` -> the part of a transformer that they are for."""

Calibrations = tuple[Calibration | None, Calibration | None]
Staged = Sequence[tuple[PlannedStage, Known | None]]


def place(
    models: Mapping[str, PlannedModel],
    staged: Staged,
    memory: MemorySpec,
    bounds: Bounds,
    texts: Mapping[str, Sequence[str]],
    found: Calibrations = (None, None),
) -> dict[str, PlannedModel]:
    """Models with their placements.

    Args:
        staged: stages, each with what is known of it.
        memory: what the workflow says.
        bounds: what they may take.
        texts: model name -> its prompts.
        found: calibrations of the machine and of its CPU, where there are some.
    """
    placed = {}
    for name, model in models.items():
        budget = bounds.vram if model.on_gpu else None
        placements = {}
        demands = dict(demands_of(model, staged, found[0]))
        for slot in model.family.slots("transformer"):
            if slot in model.sizes and slot not in demands:
                # of its stages nothing is known but what the workflow says
                demands[slot] = Demand(model.sizes[slot], (Effort(0),), lambda *_: 0)
        for slot, demand in demands.items():
            one = choose(demand, budget, knobs_of(memory, model, slot))
            if one.placement.swapped and slot == "text_encoder":
                users = [other for other in texts if shared(models[other], model, slot)]
                prompts = [prompt for other in users for prompt in texts[other]]
                placements[slot] = _text_placement(model, one, bounds, prompts, found)
            elif one.placement.swapped or one.placement.rows:
                placements[slot] = one.placement
        placed[name] = attrs.evolve(model, placements=placements)
    return placed


def knobs_of(memory: MemorySpec, model: PlannedModel, slot: str) -> Knobs:
    """What the workflow says of a component: its knobs are for transformers."""
    if slot not in model.family.slots("transformer"):
        return Knobs()
    said = {part: getattr(memory, key) for key, part in PART_KNOBS.items()}
    parts = {part: away for part, away in said.items() if away is not None}
    return Knobs(memory.blocks_to_swap, memory.prefetch_blocks, parts)


def demands_of(
    model: PlannedModel, staged: Staged, found: Calibration | None = None
) -> Iterator[tuple[str, Demand]]:
    """What each component that is made of units needs in all stages of its model, and of those that share it.

    Args:
        found: calibration of the machine, to tell whether copies hide behind the work.
    """
    needs: dict[str, list[Need]] = {}
    users: dict[str, list[Known]] = {}
    for stage, known in staged:
        for need in needs_of(stage, known) if known else ():
            assert known is not None
            besides = need.activations[None] + known.model.resident_bytes(need.slot)
            room = [Need(need.part, slot, dict.fromkeys(ROWS, besides)) for slot in need.beside]
            for one in (need, *room):
                if shared(known.model, model, one.slot):
                    needs.setdefault(one.slot, []).append(one)
                    users.setdefault(one.slot, []).append(known)
    for slot, wanted in needs.items():
        if slot not in model.sizes:
            continue
        rows = [one for one in ROWS if all(one in need.activations for need in wanted)]
        efforts = tuple(Effort(max(n.activations[one] for n in wanted), one) for one in rows)
        seconds = None
        if found and has_rates(found, model.dtype) and slot in model.family.slots("transformer"):
            seconds = min(forward_seconds(known, found) for known in users[slot])
        sizes = model.sizes[slot]
        yield slot, Demand(sizes, efforts, reserved_by(model), _hides(sizes, found, seconds))


def reserved_by(model: PlannedModel) -> Callable[[int, int], int]:
    """Bytes of a device for so many of weights and of activations, with all that is there besides."""
    if not model.on_gpu:
        return lambda weights, activations: weights + activations
    return lambda weights, activations: weights + activations + held_back(activations) + CONTEXT


def _hides(
    sizes: UnitSizes, found: Calibration | None, seconds: float | None
) -> Callable[[int], bool | None]:
    """Whether copies of so many units take no longer than ``seconds`` of work."""
    largest = max(sizes.units.values(), default=0)

    def hides(swapped: int) -> bool | None:
        if found is None or not found.upload or seconds is None:
            return None
        return swapped * largest / found.upload <= seconds

    return hides


def _text_placement(
    model: PlannedModel,
    streamed: Placed,
    bounds: Bounds,
    prompts: Sequence[str],
    found: Calibrations,
) -> Placement:
    """A text encoder that is not resident: its blocks are streamed, or it computes on the CPU.

    On the CPU where that is predicted to be faster, or where not even one block after the other fits; in both
    cases only if the host's memory holds it.
    """
    slot = "text_encoder"
    sizes = model.sizes[slot]
    if sizes.bytes + TEXT_ACTIVATIONS > bounds.ram:
        return streamed.placement
    gpu, cpu = (one if one and has_rates(one, model.dtype) else None for one in found)
    faster = False
    if gpu and cpu and gpu.upload:
        copies = traffic(sizes, streamed.placement) / gpu.upload
        on_device = max(copies, encoding_seconds(model, prompts, gpu))
        faster = encoding_seconds(model, prompts, cpu) < on_device
    return Placement("cpu") if faster or not streamed.fits else streamed.placement
