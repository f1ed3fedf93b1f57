"""How memory and placements are told to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wan_core.contract.placement import Placement
from wan_core.memory import gigabytes
from wan_core.models.encoders.files import EMBEDDING
from wan_core.models.wan.files import IMAGE_EMBEDDING, TEXT_EMBEDDING
from wan_core.planning.predict import Phase
from wan_core.planning.unit_sizes import UnitSizes

if TYPE_CHECKING:
    from wan_core.planning.plan import PlannedStage

__all__ = ["between", "makeup", "placed", "taken"]

LATENTS = 'latents, not decoded and encoded again (other bits than with handover = "pixels")'
PARTS = {
    EMBEDDING: "its table of words is looked up in host memory",
    TEXT_EMBEDDING: "its text embedding in host memory",
    IMAGE_EMBEDDING: "its image embedding in host memory",
}


def makeup(phase: Phase, about: str = "") -> str:
    """What a peak is made of: ``"weights 1.1 GB, activations 4.2 GB, CUDA 0.5 GB"``."""
    context = f", CUDA {gigabytes(phase.context)}" if phase.context else ""
    return f"weights {gigabytes(phase.weights)}, activations {about}{gigabytes(phase.activations)}{context}"


def taken(phase: Phase) -> str:
    """A phase in a line: ``"generate / sampling: 5.9 GB (weights …), 27.9 GB of RAM"``."""
    host = f", {gigabytes(phase.host)} in RAM" if phase.host else ""
    return f"{phase.name}: {gigabytes(phase.peak)} ({makeup(phase, 'about ')}){host}"


def placed(placement: Placement, sizes: UnitSizes, *, brief: bool = False) -> str:
    """``"39 of 40 blocks swapped, one on its way"``; ``""`` for what is resident as a whole.

    Args:
        brief: no more than ``"39 of 40 blocks swapped"``.
    """
    if brief:
        swapped = sum(name in sizes.units for name in placement.swapped)
        return f"{swapped} of {len(sizes.units)} blocks swapped"
    return "; ".join(_parts(placement, sizes))


def between(stages: Sequence[PlannedStage]) -> list[str]:
    """What stages hand to each other (``'"first" hands to "second" its latents'``), and what is not decoded."""
    lines = []
    for stage in stages:
        for one in stage.handovers:
            what = f"pixels, because {one.pixels}" if one.pixels else LATENTS
            lines.append(f'"{one.giver}" hands to "{stage.name}" its {what}')
    videos = (one for one in stages if "video" in one.description.outputs)
    lines += [f'the video of "{one.name}" is never decoded' for one in videos if not one.decoded]
    return lines


def _parts(placement: Placement, sizes: UnitSizes) -> Iterator[str]:
    if placement.device == "cpu":
        yield "computes on the CPU"
        return
    swapped = sum(name in sizes.units for name in placement.swapped)
    if swapped:
        ahead = min(placement.prefetch, swapped)
        way = {0: "none on its way", 1: "one on its way"}.get(ahead, f"{ahead} on their way")
        yield f"{swapped} of {len(sizes.units)} blocks swapped, {way}"
    yield from (PARTS.get(name, name) for name in placement.swapped if name in sizes.parts)
    if placement.rows:
        yield f"{placement.rows} rows at a time"
