"""The LoRA files of a model: found, identified by their headers, and matched with the weights they change.

Whether a file is merged into the weights or kept apart from them is decided here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WeightsError, WorkflowError
from wan_core.contract.loras import LoraUse
from wan_core.contract.options import show
from wan_core.memory import gigabytes
from wan_core.planning.files import PlannedFile, told_at
from wan_core.planning.places import Places
from wan_core.weights import Identity, fingerprint, identify, open_weights, printable
from wan_core.weights.described import keeps_apart, lora_targets, stored_stack, takes_loras
from wan_core.weights.lora import LoraFile, LoraTargets
from wan_core.weights.lora.matching import is_for_second
from wan_core.weights.lora.sizes import apart_sizes, work_sizes
from wan_core.weights.lora.unmatched import told
from wan_core.weights.lora.uses import factor_of, match, strength_of, unit_of, without_widened
from wan_core.weights.sources import TensorSource
from wan_core.weights.stacks import Stored

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
        apart: why it is kept apart from the weights; ``""`` = it is merged into them.
        units: of a file that is kept apart, slot -> unit or part (``"blocks.3"``, ``""`` for what belongs to
            none) -> what it adds there.
        work: of such a file, slot -> what the largest changed weights take while they are computed with.
        item: bytes of a value in the model's precision.
        widens: slot -> weights that it gives more inputs; what changes these is merged in any case.
        partly: it is kept apart, and something of it is merged.
        tensors: that it holds, and how many of them have a place in the model.
    """

    use: LoraUse
    identity: Identity
    fingerprint: str
    changes: Mapping[str, int]
    notes: tuple[str, ...] = ()
    found: bool = False
    apart: str = ""
    units: Mapping[str, Mapping[str, Stored]] = attrs.field(factory=dict)
    work: Mapping[str, tuple[Stored, ...]] = attrs.field(factory=dict)
    item: int = 4
    widens: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    partly: bool = False
    tensors: tuple[int, int] = (0, 0)

    def unit_bytes(self, slot: str) -> dict[str, int]:
        """Bytes that a file that is kept apart adds to each unit of a slot."""
        return {unit: sum(one.sizes(self.item)) for unit, one in self.units.get(slot, {}).items()}

    def work_bytes(self, slot: str) -> int:
        """Bytes of the largest changed weight of a slot while it is computed with."""
        return max((sum(one.sizes(self.item)) for one in self.work.get(slot, ())), default=0)

    @property
    def key(self) -> Hashable:
        """What of it decides the numbers of the weights; of a file kept apart, those of its factors."""
        use = self.use
        blocks = tuple(use.blocks.items()) if isinstance(use.blocks, Mapping) else use.blocks
        strength = None if self.apart and not self.partly else use.strength
        return (self.fingerprint, strength, blocks, use.skip, use.scaling, use.unmatched)

    @property
    def title(self) -> str:
        """For people: ``"x.safetensors, a LoRA …, strength 1, all of its 18 tensors match, changes 9 weights of
        transformer, merged"``."""
        counts = ", ".join(
            f"{count} weight{'s' * (count != 1)} of {slot}"
            for slot, count in self.changes.items()
            if count
        )
        what = self.identity.model or str(self.identity)
        where = f", found in {self.use.file.parent}" if self.found else ""
        size = gigabytes(sum(sum(self.unit_bytes(slot).values()) for slot in self.units))
        how = f"kept apart ({self.apart}; {size})" if self.apart else "merged"
        wider = {name: n for own in self.widens.values() for name, n in own.items()}
        how += "".join(f", widens {name} to {n} input channels" for name, n in wider.items())
        held, matched = self.tensors
        match = f"all of its {held}" if held == matched else f"{matched} of its {held}"
        return (
            f"{self.use.file.name}, {what}, strength {self.use.told}, {match} tensors match, "
            f"changes {counts or 'nothing'}{f', {how}' if counts else ''}{where}"
        )


def plan_loras(
    family: Family,
    uses: Sequence[LoraUse],
    files: Mapping[str, PlannedFile],
    dialects: Mapping[str, tuple[Any, ...]],
    where: Callable[[str], str],
    places: Places,
    *,
    item: int,
    of_stage: bool = False,
    quantised_while_loading: bool = False,
) -> tuple[PlannedLora, ...]:
    """Match every LoRA file of a model with the transformer, or with both experts.

    Args:
        uses: from the workflow.
        files: of the model's slots.
        dialects: slot -> dialects that plugins bring.
        where: turns a key such as ``"loras.0.file"`` into file, line and key, for messages.
        item: bytes of a value in the model's precision.
        of_stage: they are those of a stage, not of the model.
        quantised_while_loading: the weights are plain in their file and quantised after files were merged.

    Raises:
        WorkflowError: the family takes no LoRAs, or has no two experts to choose from, or a file shall be
            merged that can't be, or kept apart where that can't be.
        WeightsError: a file is missing, damaged, no LoRA, or made for another model.
    """
    if not uses:
        return ()
    slots = [
        slot
        for slot in family.slots("transformer")
        if slot in files and takes_loras(family.components[slot])
    ]
    if not slots:
        raise WorkflowError(
            f"family {family.name} takes no LoRAs",
            where=where("loras"),
            remedy="leave loras out, or name another family",
        )
    models = {slot: _changed(family, slot, files[slot], dialects.get(slot, ())) for slot in slots}

    def entry(index: int) -> Callable[[str], str]:
        return lambda key: where(f"loras.{index}.{key}")

    reasons = {slot: _why_apart(files[slot], of_stage, quantised_while_loading) for slot in slots}
    return tuple(
        _plan(family, use, files, models, entry(index), places, reasons, item, of_stage)
        for index, use in enumerate(uses)
    )


def _why_apart(file: PlannedFile, of_stage: bool, quantised_while_loading: bool) -> str:
    """Why no file can be merged into a slot's weights; ``""`` where it can.

    A change can be added to a number, not to one of many that share a scale: these would have to be quantised
    anew, which is another rounding.
    """
    precision = file.identity.precision
    stored = file.packed[0] and not quantised_while_loading
    if stored or precision.scheme not in PLAIN:
        return f"{printable(file.path.name)} is {precision.title or precision.scheme}"
    return "it belongs to a stage" if of_stage else ""


def _decide(
    family: Family,
    use: LoraUse,
    slots: Iterable[str],
    reasons: Mapping[str, str],
    where: Callable[[str], str],
) -> str:
    """Why a file is kept apart; ``""`` = it is merged.

    Args:
        slots: where it changes something, beside widened weights.
    """
    why = next((reasons[slot] for slot in slots if reasons[slot]), "")
    if len(use.strengths) > 1:
        why = why or "its strength changes by step"
    if use.merge and why:
        raise WorkflowError(
            f"{printable(use.file.name)} can't be merged into the weights: {why}",
            where=where("merge"),
            remedy="leave merge out",
        )
    if use.merge is False:
        why = why or "merge = false"
    unable = [slot for slot in slots if not keeps_apart(family.components[slot])]
    if why and unable:
        raise WorkflowError(
            f"{printable(use.file.name)} has to be kept apart from the weights ({why}), and family "
            f"{family.name} only merges",
            where=where("file"),
            remedy="use the bf16 or fp16 file of the model, and one strength for the whole model",
        )
    return why


@attrs.frozen(eq=False)
class _Changed:
    """A transformer as LoRA files see it.

    Attributes:
        targets: what they may change.
        owner: tells the unit, or the part, that a tensor belongs to.
    """

    targets: LoraTargets
    owner: Callable[[str], str]


def _changed(family: Family, slot: str, file: PlannedFile, dialects: tuple[Any, ...]) -> _Changed:
    component, source = family.components[slot], open_weights(file.path)
    stack = stored_stack(component, source, dialects)
    owner = stack.owner if stack else unit_of
    return _Changed(lora_targets(component, source, dialects), owner)


def _plan(
    family: Family,
    use: LoraUse,
    files: Mapping[str, PlannedFile],
    models: Mapping[str, _Changed],
    where: Callable[[str], str],
    places: Places,
    reasons: Mapping[str, str],
    item: int,
    of_stage: bool,
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
    fitted: dict[str, LoraFile] = {}
    notes: dict[str, None] = {}
    for slot, own in models.items():
        expert = slot.partition(".")[2]
        if use.transformer != "both" and use.transformer != expert:
            if not expert:
                raise WorkflowError(
                    f"family {family.name} has one transformer, not one for high and one for low noise",
                    where=where("transformer"),
                    remedy="leave transformer out",
                )
            continue
        if use.transformer == "both" and expert == "high" and is_for_second(source):
            continue
        _check_width(family, path, identity, files[slot], where("file"))
        with told_at(where("file")):
            fitted[slot] = match(use, source, own.targets, expert)
        notes |= dict.fromkeys(_notes(path, identity, fitted[slot], source))
    changes = {
        slot: len({p.target for p in one.patches if strength_of(use, p)})
        for slot, one in fitted.items()
    }
    for text in use.skip:
        if not any(p.mentions(text) for one in fitted.values() for p in one.patches):
            idle = f"skip names {show(text)}, which none of its weights contains"
            notes[f"{printable(path.name)}: {idle}"] = None
    if any(use.strengths) and not any(changes.values()):
        left = "blocks and skip leave none of its weights"
        notes[f"{printable(path.name)} changes nothing: {left}"] = None
    partly = False
    for slot, one in fitted.items():
        if weight := _widened_of(one, use, models[slot].targets):
            partly = True
            _refuse_in_parts(path, weight, use, of_stage, where("file"))
    rest = {slot: without_widened(one, models[slot].targets) for slot, one in fitted.items()}
    some = [s for s, one in rest.items() if any(factor_of(use, p) for p in one.patches)]
    why = _decide(family, use, some, reasons, where) if some else ""
    held = {slot: one for slot, one in rest.items() if why and changes[slot]}
    return PlannedLora(
        attrs.evolve(use, file=path),
        identity,
        fingerprint(source),
        changes,
        tuple(notes),
        path != use.file,
        why,
        {
            slot: apart_sizes(one, use, models[slot].targets.shapes, models[slot].owner)
            for slot, one in held.items()
        },
        {slot: work_sizes(one, use, models[slot].targets.shapes) for slot, one in held.items()},
        item,
        {slot: _wider(one, models[slot].targets) for slot, one in fitted.items()},
        bool(why) and partly,
        (len(source.tensors), min((one.matched for one in fitted.values()), default=0)),
    )


def _wider(file: LoraFile, targets: LoraTargets) -> dict[str, int]:
    """The weights that a file gives more inputs -> how many they get."""
    return {p.target: p.inputs for p in file.patches if p.widens(targets.shapes[p.target])}


def _widened_of(file: LoraFile, use: LoraUse, targets: LoraTargets) -> str:
    """A widened weight that a file changes; ``""`` = none."""
    changed = (p.target for p in file.patches if factor_of(use, p))
    return next((name for name in changed if name in targets.widened), "")


def _refuse_in_parts(path: Path, weight: str, use: LoraUse, of_stage: bool, where: str) -> None:
    """What changes a widened weight is merged, so it holds for all steps of all stages."""
    if of_stage or len(use.strengths) > 1:
        cause = "belong to a stage" if of_stage else "have a strength for each step"
        raise WorkflowError(
            f"{printable(path.name)} changes {weight}, which gets more input channels while it is loaded, "
            f"so it can't {cause}",
            where=where,
            remedy="put it into the loras of the model, with one strength",
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
