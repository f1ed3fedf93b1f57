"""The memory of a stage, part by part: what each component takes while it works."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from wan_core.models.vae.descriptor import PREVIEW_SLOT
from wan_core.planning.host import host_share
from wan_core.planning.known import Known
from wan_core.planning.plan import PlannedModel, PlannedStage
from wan_core.planning.predict import (
    CONTEXT,
    ITEM_SIZE,
    Phase,
    clip_activations,
    held_back,
    preview_decoding,
    transformer_activations,
    vae_decoding,
    vae_encoding,
)
from wan_core.planning.sharing import shared

# 512 rows of the largest text encoder: scores of 64 heads and the gated hidden rows, in float32
TEXT_ACTIVATIONS = 110_000_000

ROWS: tuple[int | None, ...] = (None, 8192, 2048)
"""How many tokens a feed-forward may handle at a time, the easiest first; None = all.

Each takes less memory than the one before; a placement states the one that is chosen.
"""


TEXT_ENCODER = "text_encoder"
CONVOLVE = ("vae", PREVIEW_SLOT)
"""Components that are made of convolutions."""


@attrs.frozen
class Need:
    """A part of a stage, before it is known where weights lie.

    Attributes:
        part, slot: as of :class:`Phase`.
        activations: rows that are handled at a time -> bytes beside the weights.
        beside: slots one of which is on the device as well.
    """

    part: str
    slot: str
    activations: dict[int | None, int]
    beside: tuple[str, ...] = ()


def needs_of(stage: PlannedStage, known: Known) -> list[Need]:
    """What the parts of a stage need, in the order of a run."""
    model, size, vae = known.model, known.size, known.vae.config
    item, on_cpu = ITEM_SIZE[model.dtype], not model.on_gpu

    def need(part: str, slot: str, activations: int, beside: tuple[str, ...] = ()) -> Need:
        return Need(part, slot, {None: activations + model.unpacking_bytes(slot)}, beside)

    parts = [need("text", TEXT_ENCODER, TEXT_ACTIVATIONS)]
    if known.encoded:
        parts.append(need("encoding", "vae", vae_encoding(vae, size, item, on_cpu=on_cpu)))
    if known.clip and known.pictures:
        activations = clip_activations(known.clip, known.pictures, item)
        parts.append(need("image tokens", "image_encoder", activations))
    state = sum(one.bytes for one in stage.needs.state)
    for slot in known.experts:
        besides = state + model.unpacking_bytes(slot)
        parts.append(Need(_part(slot), slot, _by_rows(known, besides)))
    if known.tiny:
        # previews are decoded beside the transformer, between two of its steps
        activations = preview_decoding(known.tiny, size, item)
        parts.append(need("previews", PREVIEW_SLOT, activations, known.experts))
    if stage.decoded:
        parts.append(need("decoding", "vae", vae_decoding(vae, size, item, on_cpu=on_cpu)))
    return parts


def predict_memory(
    stage: PlannedStage, known: Known | None, room: int | None = None
) -> list[Phase]:
    """Memory part by part, under the placements of the model; nothing for a stage of which nothing is known.

    Args:
        room: bytes of host memory for what is swapped; None = no bound.
    """
    if known is None:
        return []
    return [_phase(stage.name, need, known.model, room) for need in needs_of(stage, known)]


def predict_run(
    staged: Sequence[tuple[PlannedStage, Known | None]], room: int | None = None
) -> list[Phase]:
    """Memory of all stages; a text encoder works once, for all stages that it serves.

    Args:
        room: as of :func:`predict_memory`.
    """
    phases: list[Phase] = []
    served: list[PlannedModel] = []
    for stage, known in staged:
        encoded = known and any(shared(known.model, one, TEXT_ENCODER) for one in served)
        if known and not encoded:
            served.append(known.model)
        found = predict_memory(stage, known, room)
        phases += [one for one in found if not (encoded and one.slot == TEXT_ENCODER)]
    return phases


def _phase(stage: str, need: Need, model: PlannedModel, room: int | None) -> Phase:
    placement = model.placement(need.slot)
    weights = model.resident_bytes(need.slot)
    weights += max((model.resident_bytes(slot) for slot in need.beside), default=0)
    activations = need.activations.get(placement.rows, max(need.activations.values()))
    if not model.on_gpu:
        return Phase(stage, need.part, need.slot, weights, activations)
    if placement.device == "cpu":
        host = weights + activations
        return Phase(stage, need.part, need.slot, 0, 0, CONTEXT, host)
    # what is swapped of both experts stays in host memory from one to the other
    part = need.slot.partition(".")[0]
    slots = sorted({*model.family.slots(part), *need.beside})
    swapped = {slot: model.sizes[slot] for slot in slots if model.host_bytes(slot)}
    largest = max(swapped.values(), key=lambda one: one.bytes, default=None)
    share = host_share(list(swapped.values()), swapped.get(need.slot, largest), room)
    activations += held_back(activations, convolutions=part in CONVOLVE)
    return Phase(
        stage,
        need.part,
        need.slot,
        weights,
        activations,
        CONTEXT,
        share.there,
        share.files,
        (share.outside, share.buffers),
    )


def _by_rows(known: Known, besides: int) -> dict[int | None, int]:
    """Rows that are handled at a time -> bytes of a step; only those that take less than the ones before."""
    taken: dict[int | None, int] = {}
    for rows in ROWS:
        if rows is None or rows < known.tokens:
            found = _sampling(known, rows) + besides
            if found < min(taken.values(), default=found + 1):
                taken[rows] = found
    return taken


def _sampling(known: Known, rows: int | None) -> int:
    model, config = known.model, known.transformer
    # the widest input's codes, where products are in 8 bits
    rounded = max((rows or known.tokens) * config.ffn_dim, known.tokens * config.dim)
    return rounded * model.rounds_inputs + transformer_activations(
        config,
        known.tokens,
        ITEM_SIZE[model.dtype],
        image_rows=known.image_rows,
        contexts=known.contexts,
        rows=rows,
        compiled=model.compile and model.on_gpu,
    )


def _part(slot: str) -> str:
    """``"sampling"``; of two experts ``"sampling, high noise"``."""
    expert = slot.partition(".")[2]
    return f"sampling, {expert} noise" if expert else "sampling"
