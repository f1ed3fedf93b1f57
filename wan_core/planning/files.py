"""The files of a model: found, opened by their headers, and compared with what their slot needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Component, Family
from wan_core.contract.errors import WeightsError, WorkflowError, nearest
from wan_core.contract.lazy import resolve
from wan_core.contract.options import with_article
from wan_core.contract.text import TWO_FILES
from wan_core.planning.fitting import identify_for, misfit
from wan_core.planning.places import Places
from wan_core.plugins import Plugins
from wan_core.weights import Identity, fingerprint, open_weights, printable, strip_prefixes
from wan_core.weights.described import lora_targets, takes_loras
from wan_core.weights.files import is_shard
from wan_core.weights.naming import matches
from wan_core.weights.outlines import OUTLINE
from wan_core.weights.quantised.source import UnpackedSource
from wan_core.workflow import COMPANIONS


@attrs.frozen
class Widened:
    """A weight ``[outputs, inputs, …]`` that gets more inputs while it is loaded.

    Attributes:
        weight: its official name.
        key: what configurations call the number of its inputs.
        inputs: how many there will be.
        stored: how many there are in the file.
    """

    weight: str
    key: str
    inputs: int
    stored: int


@attrs.frozen
class PlannedFile:
    """A file in a slot, as its header describes it.

    Attributes:
        path: where it is (for a sharded checkpoint, the index or the folder).
        identity: what it contains.
        fingerprint: changes when the weights change; part of cache keys.
        bytes: of all its tensors, as stored.
        elements: number of values in the tensors of the component.
        packed: those of them that stay quantised in memory, and their bytes.
        largest: values of the largest quantised weight, which is unpacked for each call.
        found: the library found it; the workflow names it by the end of its path, or not at all.
        assumed: nobody has fetched it; ``path`` is its outline.
        widened: its weights that LoRA files make wider.
    """

    path: Path
    identity: Identity
    fingerprint: str
    bytes: int
    elements: int
    packed: tuple[int, int] = (0, 0)
    largest: int = 0
    found: bool = False
    assumed: bool = False
    widened: tuple[Widened, ...] = ()

    @property
    def details(self) -> dict[str, int]:
        """Sizes that the header shows, as they are once LoRA files have widened its weights."""
        return {**self.identity.details, **{one.key: one.inputs for one in self.widened}}


def plan_files(
    family: Family,
    given: Mapping[str, Any],
    where: Callable[[str], str],
    plugins: Plugins,
    places: Places,
    *,
    with_loras: bool = False,
) -> tuple[dict[str, PlannedFile], dict[str, Path]]:
    """Files of all slots of a family, and companion files (tokenizer).

    Args:
        given: slot -> file, from the workflow.
        where: turns a slot into file, line and key, for messages.
        plugins: who knows further dialects.
        places: where files are looked for.
        with_loras: there are LoRA files, which may widen weights: what is too narrow then is left to
            :func:`wan_core.planning.widening.widened`.

    Raises:
        WorkflowError: an unknown slot, a slot without a file, or a name that several files have.
        WeightsError: a file that is missing, damaged, or of another component or variant.
    """
    given = _by_slot(family, given, where)
    planned: dict[str, PlannedFile] = {}
    for slot, component in family.components.items():
        if component.needs_file and (slot in given or not component.optional):
            path, found = _choose(family, slot, component, given, where, places)
            try:
                file = _read(
                    family, slot, component, path, where(slot), plugins, places, with_loras
                )
            except WeightsError as error:
                if is_shard(path):
                    error.remedy = "this is one shard of several: name their index, or the folder"
                raise
            planned[slot] = attrs.evolve(file, found=found)
    companions = {
        name: places.locate(family, Path(given[name]), where(name))
        for name in COMPANIONS
        if name in given
    }
    _refuse_strangers(planned, where)
    return planned, companions


def _by_slot(
    family: Family, given: Mapping[str, Any], where: Callable[[str], str]
) -> dict[str, Any]:
    """The files of a workflow by slot: those of two experts under ``"transformer.high"`` and so on."""
    known = {slot.partition(".")[0] for slot in family.components} | {*COMPANIONS}
    found: dict[str, Any] = {}
    for name, path in given.items():
        slots = family.slots(name)
        if any(not family.components[slot].needs_file for slot in slots):
            raise WorkflowError(
                f"family {family.name} makes its own {name}, it takes no file",
                where=where(name),
                remedy=f"leave {name} out, or name another family",
            )
        if name not in known:
            raise WorkflowError(
                f'family {family.name} has no slot "{name}"',
                where=where(name),
                remedy=nearest(name, known),
            )
        experts = [slot.partition(".")[2] for slot in slots if "." in slot]
        if experts and not isinstance(path, Mapping):
            raise WorkflowError(
                f"family {family.name} has two experts, for high and for low noise",
                where=where(name),
                remedy=f"write {name} = {TWO_FILES}",
            )
        if isinstance(path, Mapping) and not experts:
            raise WorkflowError(
                f"family {family.name} has one {name}, not a high and a low one",
                where=where(name),
                remedy="name a single file",
            )
        found |= {f"{name}.{one}": path[one] for one in experts} if experts else {name: path}
    return found


def _choose(
    family: Family,
    slot: str,
    component: Component,
    given: Mapping[str, Any],
    where: Callable[[str], str],
    places: Places,
) -> tuple[Path, bool]:
    """The file of a slot, and whether the library found it."""
    if slot in given:
        path = places.locate(family, Path(given[slot]), where(slot))
        return path, path != given[slot]
    if component.bundled:
        return places.bundled(component.bundled, where("family")), False
    if here := places.library.component(component.published):
        return here, True
    for other in component.alternatives:
        if here := places.library.holds(other):
            return here, True
    if places.assume and component.outline:
        return places.bundled(component.outline, where("family")), False
    name, _, expert = slot.partition(".")
    remedy = f"add {name} = " + (TWO_FILES if expert else '"FILE"')
    if component.published:
        remedy = f"run wan-core models pull {family.name}, or {remedy}"
    if component.outline:
        remedy += " (wan-core plan --assume-files predicts without it)"
    raise WorkflowError(
        f"family {family.name} needs {with_article(name)} file"
        + (f" for {expert} noise" if expert else ""),
        where=where(slot),
        remedy=remedy,
    )


def _read(
    family: Family,
    slot: str,
    component: Component,
    path: Path,
    where: str,
    plugins: Plugins,
    places: Places,
    with_loras: bool,
) -> PlannedFile:
    with told_at(where):
        source = open_weights(path)
    for file in source.files:
        places.allow(file, where)
    identity = identify_for(component, source, plugins)
    if identity.component != component.kind:
        raise WeightsError(
            f"{printable(path.name)} is {identity}; slot {slot} of family {family.name} needs "
            f"{Identity(component.kind).title}",
            where=where,
            remedy="name another file",
        )
    widens: tuple[str, ...] = ()
    if with_loras and takes_loras(component):
        dialects = plugins.dialects_of(component.kind)
        widens = tuple(lora_targets(component, source, dialects).widens.values())
    if differs := misfit(component, identity, widens):
        raise unlike(family, path, identity, differs, where)
    if component.verify:
        with told_at(where):
            resolve(component.verify)(source, component.config)
    with told_at(where):
        own = UnpackedSource(strip_prefixes(source, component.kind))
    unpacks = (*component.unpacks, *(component.stack.keep_float32 if component.stack else ()))
    packed = {
        name: math.prod(own.shape(name))
        for name in own.layouts
        if own.stays_packed(name) and not matches(name, unpacks)
    }
    return PlannedFile(
        path=path,
        identity=identity,
        fingerprint=fingerprint(source),
        bytes=source.nbytes,
        elements=sum(math.prod(info.shape) for info in own.tensors.values()),
        packed=(sum(packed.values()), sum(own.tensors[name].nbytes for name in packed)),
        largest=max(packed.values(), default=0),
        assumed=source.container == OUTLINE,
    )


def unlike(
    family: Family, path: Path, identity: Identity, differs: tuple[str, Any, Any], where: str
) -> WeightsError:
    """What to say of a file that has other sizes than its family.

    Args:
        differs: what :func:`wan_core.planning.fitting.misfit` found.
    """
    key, found, wanted = differs
    return WeightsError(
        f"{printable(path.name)} is {identity}: its {key} is {found}, that of family {family.name} is "
        f"{wanted}",
        where=where,
        remedy=f"name a file of {family.title}, or another family",
    )


@contextmanager
def told_at(where: str) -> Iterator[None]:
    """What is wrong with a file is told with the place in the workflow that names it."""
    try:
        yield
    except WeightsError as error:
        error.place(where)
        raise


def _refuse_strangers(files: Mapping[str, PlannedFile], where: Callable[[str], str]) -> None:
    """Parts that were not made for each other: widths that have to meet and don't."""
    meetings = (
        ("text_encoder", "dim", "transformer", "text_dim", "text rows"),
        ("vae", "z_dim", "transformer", "out_dim", "latent channels"),
    )
    for slot, key, other, other_key, what in meetings:
        if slot not in files:
            continue
        for taker in (name for name in files if name.partition(".")[0] == other):
            one = files[slot].identity.details.get(key)
            two = files[taker].identity.details.get(other_key)
            if one and two and one != two:
                raise WeightsError(
                    f"{files[slot].path.name} makes {what} of width {one}, "
                    f"{files[taker].path.name} takes {two}: they do not belong together",
                    where=where(slot),
                    remedy="name files of one model",
                )
