"""The files of a model: found, opened by their headers, and compared with what their slot needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.descriptions import Component, Family
from wan_core.contract.errors import WeightsError, WorkflowError, nearest
from wan_core.weights import Identity, fingerprint, identify, open_weights
from wan_core.workflow import COMPANIONS


@attrs.frozen
class PlannedFile:
    """A file in a slot, as its header describes it.

    Attributes:
        path: where it is (for a sharded checkpoint, the index or the folder).
        identity: what it contains.
        fingerprint: changes when the weights change; part of cache keys.
        bytes: of all its tensors, as stored.
        elements: number of values in all its tensors.
    """

    path: Path
    identity: Identity
    fingerprint: str
    bytes: int
    elements: int


def plan_files(
    family: Family, given: Mapping[str, Any], where: Any
) -> tuple[dict[str, PlannedFile], dict[str, Path]]:
    """Files of all slots of a family, and companion files (tokenizer).

    Args:
        given: slot -> file, from the workflow.
        where: turns a slot into file, line and key, for messages.

    Raises:
        WorkflowError: an unknown slot, or a slot without a file.
        WeightsError: a file that is missing, damaged, or of another component or variant.
    """
    known = {*family.components, *COMPANIONS}
    for slot in given:
        if slot not in known:
            raise WorkflowError(
                f'family {family.name} has no slot "{slot}"',
                where=where(slot),
                remedy=nearest(slot, known),
            )
    planned: dict[str, PlannedFile] = {}
    for slot, component in family.components.items():
        if not component.needs_file:
            continue
        path = _choose(family, slot, component, given, where)
        planned[slot] = _read(family, slot, component, path, where(slot))
    companions = {name: given[name] for name in COMPANIONS if name in given}
    for name, path in companions.items():
        if not path.exists():
            raise WeightsError(f"{path} does not exist", where=where(name))
    return planned, companions


def bundled(name: str) -> Path:
    """A file that is part of the installed package (the tiny weights)."""
    with as_file(files("wan_core.models").joinpath(name)) as path:
        return path


def _choose(
    family: Family, slot: str, component: Component, given: Mapping[str, Any], where: Any
) -> Path:
    if slot in given:
        path = given[slot]
        if isinstance(path, Mapping):
            raise WorkflowError(
                f"family {family.name} has one transformer, not a high and a low one",
                where=where(slot),
                remedy="name a single file",
            )
        return Path(path)
    if component.bundled:
        return bundled(component.bundled)
    published = " or ".join(f"{f.repository}: {f.path}" for f in component.published[:1])
    raise WorkflowError(
        f"family {family.name} needs a {slot} file",
        where=where(slot),
        remedy=f'add {slot} = "FILE"' + (f" (published as {published})" if published else ""),
    )


def _read(family: Family, slot: str, component: Component, path: Path, where: str) -> PlannedFile:
    if not path.exists():
        raise WeightsError(f"{path} does not exist", where=where, remedy="correct the path")
    source = open_weights(path)
    identity = identify(source, component.kind)
    if identity.component != component.kind:
        raise WeightsError(
            f"{path.name} is {identity}; slot {slot} of family {family.name} needs "
            f"{Identity(component.kind).title}",
            where=where,
            remedy="name another file",
        )
    for key, wanted in component.config.items():
        found = identity.details.get(key)
        if found is not None and found != wanted:
            raise WeightsError(
                f"{path.name} has {key} {found}, family {family.name} has {wanted}",
                where=where,
                remedy=f"name a file of {family.title}, or another family",
            )
    return PlannedFile(
        path=path,
        identity=identity,
        fingerprint=fingerprint(source),
        bytes=source.nbytes,
        elements=sum(math.prod(info.shape) for info in source.tensors.values()),
    )
