"""The LoRA files of a model: found, identified by their headers, and matched with the weights they change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WeightsError, WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.contract.loras import LoraUse
from wan_core.planning.files import PlannedFile, told_at
from wan_core.planning.places import Places
from wan_core.weights import Identity, fingerprint, identify, open_weights, printable
from wan_core.weights.lora import LoraFile, LoraTargets
from wan_core.weights.lora.uses import match, strength_of, told
from wan_core.weights.sources import TensorSource

PLAIN = frozenset(("", "mixed", "fp64", "fp32", "fp16", "bf16", "fp8_e4m3fn", "fp8_e5m2"))
"""Schemes in which every number stands by itself."""


@attrs.frozen
class PlannedLora:
    """A LoRA file as its header describes it.

    Attributes:
        use: how it is used; its file is where it was found.
        identity: what it contains.
        fingerprint: changes when the file does.
        changes: slot of a transformer -> how many weights it changes there.
        notes: what the user should know.
        found: the library found it.
    """

    use: LoraUse
    identity: Identity
    fingerprint: str
    changes: Mapping[str, int]
    notes: tuple[str, ...] = ()
    found: bool = False

    @property
    def key(self) -> Hashable:
        """What of it decides the numbers of the weights."""
        use = self.use
        blocks = tuple(use.blocks.items()) if isinstance(use.blocks, Mapping) else use.blocks
        return (self.fingerprint, use.strength, blocks, use.skip, use.scaling, use.unmatched)

    @property
    def title(self) -> str:
        """For people: ``"x.safetensors, a LoRA …, strength 0.8, changes 240 weights of transformer"``."""
        counts = ", ".join(f"{count} weights of {slot}" for slot, count in self.changes.items())
        what = self.identity.model or str(self.identity)
        where = f", found in {self.use.file.parent}" if self.found else ""
        return (
            f"{self.use.file.name}, {what}, strength {self.use.strength:g}, "
            f"changes {counts or 'nothing'}{where}"
        )


def plan_loras(
    family: Family,
    uses: Sequence[LoraUse],
    files: Mapping[str, PlannedFile],
    dialects: Mapping[str, tuple[Any, ...]],
    where: Callable[[str], str],
    places: Places,
) -> tuple[PlannedLora, ...]:
    """Match every LoRA file of a model with the transformer, or with both experts.

    Args:
        uses: from the workflow.
        files: of the model's slots.
        dialects: slot -> dialects that plugins bring.
        where: turns a key such as ``"loras.0.file"`` into file, line and key, for messages.

    Raises:
        WorkflowError: the family takes no LoRAs, or has no two experts to choose from.
        WeightsError: a file is missing, damaged, no LoRA, or made for another model.
    """
    if not uses:
        return ()
    slots = [
        slot
        for slot in family.slots("transformer")
        if slot in files and family.components[slot].lora_targets
    ]
    if not slots:
        raise WorkflowError(
            f"family {family.name} takes no LoRAs",
            where=where("loras"),
            remedy="leave loras out, or name another family",
        )
    _refuse_quantised(files, slots, where)
    targets = {slot: _targets(family, slot, files[slot], dialects.get(slot, ())) for slot in slots}

    def entry(index: int) -> Callable[[str], str]:
        return lambda key: where(f"loras.{index}.{key}")

    return tuple(
        _plan(family, use, files, targets, entry(index), places) for index, use in enumerate(uses)
    )


def _refuse_quantised(
    files: Mapping[str, PlannedFile], slots: Sequence[str], where: Callable[[str], str]
) -> None:
    """A change can be added to a number, not to a block of numbers that share a scale."""
    for slot in slots:
        precision = files[slot].identity.precision
        if precision.scheme not in PLAIN:
            raise WeightsError(
                f"LoRA files can't be merged into quantised weights, and {printable(files[slot].path.name)} is "
                f"{precision.title or precision.scheme}",
                where=where("loras"),
                remedy="use the bf16 or fp16 file of the model",
            )


def _targets(
    family: Family, slot: str, file: PlannedFile, dialects: tuple[Any, ...]
) -> LoraTargets:
    name = family.components[slot].lora_targets
    assert name is not None
    found: LoraTargets = resolve(name)(open_weights(file.path), dialects)
    return found


def _plan(
    family: Family,
    use: LoraUse,
    files: Mapping[str, PlannedFile],
    targets: Mapping[str, LoraTargets],
    where: Callable[[str], str],
    places: Places,
) -> PlannedLora:
    path = places.locate(family, use.file, where("file"))
    with told_at(where("file")):
        source = open_weights(path)
        for file in source.files:
            places.allow(file, "")
        identity = identify(source)
    if identity.component != "lora":
        raise WeightsError(
            f"{printable(path.name)} is {identity}, not a LoRA",
            where=where("file"),
            remedy="name a LoRA file",
        )
    changes: dict[str, int] = {}
    notes: dict[str, None] = {}
    for slot, own in targets.items():
        expert = slot.partition(".")[2]
        if use.transformer != "both" and use.transformer != expert:
            if not expert:
                raise WorkflowError(
                    f"family {family.name} has one transformer, not one for high and one for low noise",
                    where=where("transformer"),
                    remedy="leave transformer out",
                )
            continue
        _check_width(family, path, identity, files[slot], where("file"))
        with told_at(where("file")):
            fitting = match(use, source, own, expert)
        counting = {p.target for p in fitting.patches if strength_of(use, p)}
        changes[slot] = len(counting)
        notes |= dict.fromkeys(_notes(path, identity, fitting, source))
    if use.strength and not any(changes.values()):
        left = "blocks and skip leave none of its weights"
        notes[f"{printable(path.name)} changes nothing: {left}"] = None
    return PlannedLora(
        attrs.evolve(use, file=path),
        identity,
        fingerprint(source),
        changes,
        tuple(notes),
        path != use.file,
    )


def _check_width(
    family: Family, path: Path, identity: Identity, transformer: PlannedFile, where: str
) -> None:
    """A LoRA for a model of another size fits nowhere: one sentence says why."""
    width, own = identity.details.get("dim"), transformer.identity.details.get("dim")
    if width and own and width != own:
        raise WeightsError(
            f"{printable(path.name)} is {identity.model or 'a LoRA'}: it changes a transformer of width "
            f"{width}, that of family {family.name} has {own}",
            where=where,
            remedy="use a LoRA that was made for this model",
        )


def _notes(path: Path, identity: Identity, file: LoraFile, source: TensorSource) -> list[str]:
    name = printable(path.name)
    notes = []
    if file.unmatched:
        notes.append(f"{name} is used in part: left out are {told(file)}")
    if identity.dialect == "peft" and not file.scaled:
        notes.append(
            f"{name} states no alpha, so its changes are taken as they are; if it was trained with "
            'rank-stabilised scales they are too weak, and scaling = "rank-stabilised" makes up for it'
        )
    return notes
