"""The ``[models.NAME]`` tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wan_core.contract.options import show
from wan_core.workflow.lines import KeyPath, write_key
from wan_core.workflow.reader import Reader
from wan_core.workflow.spec import ModelSpec, check_name

COMPANIONS: Mapping[str, str] = {"tokenizer": "text_encoder"}
"""Keys of a model's table that name a file but no component -> the component they belong to."""

_EXPERTS = frozenset({"high", "low"})


def read_models(reader: Reader, raw: object) -> dict[str, ModelSpec]:
    """All models of a workflow by name; what the families' slots are, plugins say."""
    models = {}
    for name, table in reader.table(("models",), raw).items():
        path = ("models", name)
        if not isinstance(table, dict) and not reader.source.lone_model:
            problem = f"[models] holds models by name, and {show(name)} is no table"
            reader.refuse(path, problem, "write [model] for one, [models.NAME] for several")
        with reader.at(path):
            check_name(name, "the name of a model")
        models[name] = _read_model(reader, path, table)
    return models


def _read_model(reader: Reader, path: KeyPath, raw: object) -> ModelSpec:
    table = reader.table(path, raw)
    if "family" not in table:
        known = ", ".join(reader.plugins.families)
        problem = f"{reader.title(path)} needs family"
        reader.refuse(path, problem, f'add family = "…" (installed are: {known})')
    family = reader.known((*path, "family"), table["family"], "family")
    components = reader.plugins.family(family).components
    slots = [*dict.fromkeys(slot.partition(".")[0] for slot in components)]
    slots += [key for key, component in COMPANIONS.items() if component in slots]
    for key in table:
        if key not in slots and key in _all_slots(reader):
            problem = f"family {family} takes no {key}"
            reader.refuse((*path, key), problem, f"leave it out (its files are {', '.join(slots)})")
    files = {
        slot: _read_file(reader, (*path, slot), table[slot]) for slot in slots if slot in table
    }
    return reader.structure(path, table, ModelSpec, given={"files": files}, also=frozenset(slots))


def _all_slots(reader: Reader) -> set[str]:
    """Of all families together."""
    families = reader.plugins.families.values()
    return {slot.partition(".")[0] for family in families for slot in family.components}


def _read_file(reader: Reader, path: KeyPath, raw: object) -> Path | Mapping[str, Path]:
    """The file of a slot, or one for each of two experts."""
    file: Path | Mapping[str, Path] = reader.value(path, raw, Path | Mapping[str, Path])
    if isinstance(file, Mapping) and file.keys() != _EXPERTS:
        problem = f"{write_key(path[-1:])} must name a file for each of the two experts"
        reader.refuse(path, problem, 'write { high = "…", low = "…" }')
    return file
