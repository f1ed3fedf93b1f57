"""What a run needs of the machine's memory, and whether it has that."""

from __future__ import annotations

from collections.abc import Mapping

from wan_core.contract.errors import ResourceError
from wan_core.memory import gigabytes
from wan_core.models.vae import vae_descriptor
from wan_core.planning.machine import Machine
from wan_core.planning.plan import PlannedModel, PlannedStage
from wan_core.planning.predict import (
    ITEM_SIZE,
    Phase,
    tokens,
    transformer_activations,
    vae_decoding,
)
from wan_core.weights import open_weights
from wan_core.workflow import Workflow

# 512 rows of the largest text encoder: scores of 64 heads and the gated hidden rows, in float32
TEXT_ACTIVATIONS = 110_000_000


def predict_memory(stage: PlannedStage, models: Mapping[str, PlannedModel]) -> list[Phase]:
    """Memory part by part; nothing for a family whose components are not those of text to video."""
    size = stage.needs.size
    model = models.get(stage.spec.model or "")
    if model is None or size is None or model.parts != {"text_encoder", "transformer", "vae"}:
        return []
    experts = model.family.slots("transformer")
    sizes = model.files[experts[0]].identity.details
    if not {"dim", "ffn_dim"} <= set(sizes):
        return []
    item = ITEM_SIZE[model.dtype]
    vae = vae_descriptor(open_weights(model.files["vae"].path))
    sampling = transformer_activations(
        tokens(size, vae.stride), sizes["dim"], sizes["ffn_dim"], item, stage.contexts(model)
    ) + sum(state.bytes for state in stage.needs.state)
    parts = [
        ("text", "text_encoder", TEXT_ACTIVATIONS),
        *((_sampling(slot), slot, sampling) for slot in experts),
        ("decoding", "vae", vae_decoding(vae.config, size, item)),
    ]
    return [
        Phase(stage.name, part, slot, model.resident_bytes(slot), activations)
        for part, slot, activations in parts
    ]


def _sampling(slot: str) -> str:
    """``"sampling"``; of two experts ``"sampling, high noise"``."""
    expert = slot.partition(".")[2]
    return f"sampling, {expert} noise" if expert else "sampling"


def shortages(machine: Machine, phases: tuple[Phase, ...]) -> list[str]:
    """Notes on what this machine has no room for now; a plan may be made for another one."""
    free = machine.ram if machine.vram is None else machine.vram
    return [
        f"{phase.name} is predicted to need {gigabytes(phase.peak)}; {gigabytes(free)} are free here"
        for phase in phases
        if phase.peak > free
    ]


def check_budget(workflow: Workflow, machine: Machine, phases: tuple[Phase, ...]) -> None:
    """Hold the run to the budget that the workflow states.

    Raises:
        ResourceError: a part of the run is predicted to need more.
    """
    key = "ram" if machine.vram is None else "vram"
    budget: int | None = getattr(workflow.memory, key)
    if budget is None:
        return
    for phase in phases:
        if phase.peak > budget:
            raise ResourceError(
                f"{phase.name} is predicted to need {gigabytes(phase.peak)} (weights "
                f"{gigabytes(phase.weights)}, activations {gigabytes(phase.activations)}), the "
                f"budget is {gigabytes(budget)}",
                where=workflow.source.where(f"memory.{key}"),
                remedy="use a smaller size, fewer frames, a smaller precision or a larger budget",
            )
