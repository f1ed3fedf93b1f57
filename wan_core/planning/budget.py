"""What a run needs of the machine's memory, and whether it has that."""

from __future__ import annotations

from wan_core.contract.errors import ResourceError
from wan_core.memory import gigabytes
from wan_core.models.vae.descriptor import PREVIEW_SLOT
from wan_core.planning.known import Known
from wan_core.planning.machine import Machine
from wan_core.planning.plan import PlannedStage
from wan_core.planning.predict import (
    ITEM_SIZE,
    Phase,
    clip_activations,
    preview_decoding,
    transformer_activations,
    vae_decoding,
    vae_encoding,
)
from wan_core.workflow import Workflow

# 512 rows of the largest text encoder: scores of 64 heads and the gated hidden rows, in float32
TEXT_ACTIVATIONS = 110_000_000


def predict_memory(stage: PlannedStage, known: Known | None) -> list[Phase]:
    """Memory part by part; nothing for a stage of which nothing is known."""
    if known is None:
        return []
    model, size, vae = known.model, known.size, known.vae.config
    item = ITEM_SIZE[model.dtype]
    parts = [("text", "text_encoder", TEXT_ACTIVATIONS)]
    if known.encoded:
        parts.append(("encoding", "vae", vae_encoding(vae, size, item)))
    if known.clip and known.pictures:
        activations = clip_activations(known.clip, known.pictures, item)
        parts.append(("image tokens", "image_encoder", activations))
    sampling = transformer_activations(
        known.transformer,
        known.tokens,
        item,
        image_rows=known.image_rows,
        contexts=known.contexts,
    )
    sampling += sum(state.bytes for state in stage.needs.state)
    if model.rounds_inputs:
        sampling += known.tokens * known.transformer.ffn_dim  # the widest input's codes
    parts += [(_sampling(slot), slot, sampling) for slot in known.experts]
    if known.tiny:
        parts.append(("previews", PREVIEW_SLOT, preview_decoding(known.tiny, size, item)))
    parts.append(("decoding", "vae", vae_decoding(vae, size, item)))
    # previews are decoded beside the transformer, between two of its steps
    beside = {PREVIEW_SLOT: max(model.resident_bytes(slot) for slot in known.experts)}
    return [
        Phase(
            stage.name,
            part,
            slot,
            model.resident_bytes(slot) + beside.get(slot, 0),
            activations + model.unpacking_bytes(slot),
        )
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
