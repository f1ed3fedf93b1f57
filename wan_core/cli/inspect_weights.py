"""What ``wan-core inspect`` says of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from wan_core.cli.inspect import Found
from wan_core.cli.text import titled
from wan_core.contract.descriptions import Component, Family
from wan_core.contract.errors import WanCoreError
from wan_core.contract.lazy import resolve
from wan_core.memory import gigabytes
from wan_core.planning import bundled, identify_for, misfit
from wan_core.weights import Identity, TensorSource, identify, open_weights, printable
from wan_core.weights import fingerprint as fingerprint_of
from wan_core.weights.described import lora_targets, takes_loras
from wan_core.weights.files import is_shard

if TYPE_CHECKING:
    from wan_core.plugins import Plugins

SHORT = 200
MOST_ENTRIES = 40
LORA = "lora"
UNKNOWN = "not recognised"


@attrs.frozen
class Fit:
    """A slot that a file fits.

    Attributes:
        line: how a workflow names it there.
        problem: why it can't be used all the same; ``""`` when it can.
    """

    family: str
    slot: str
    line: str
    problem: str = ""


def describe_weights(path: Path, plugins: Plugins, with_fingerprint: bool) -> Found:
    """Everything that the header of a weight file says.

    Raises:
        WeightsError: it can't be read.
    """
    source = open_weights(path)
    identity, fits = _judge(path, source, plugins)
    values = sum(identity.precision.values.values())
    metadata, left_out = _short_metadata(source.metadata)
    print_of = fingerprint_of(source) if with_fingerprint else None
    what = UNKNOWN if identity.component == "unknown" else str(identity)
    precision = identity.precision
    rows = [
        ("what", what),
        ("model", identity.model),
        ("names", _names(identity) or (what == UNKNOWN and _first_names(source)) or ""),
        ("container", source.container),
        ("", "one shard of several: name their index, or the folder" if is_shard(path) else ""),
        ("tensors", str(len(source.tensors))),
        ("size", _size(source.nbytes)),
        ("parameters", _count(values)),
        ("precision", precision.title),
        ("", precision.shares if len(precision.values) > 1 else ""),
        *_lora_rows(identity, plugins),
        *titled("header", [f"{key} = {value}" for key, value in metadata.items()]),
        ("" if metadata else "header", _left_out(left_out) if left_out else ""),
        ("fingerprint", print_of or ""),
        *titled("fits", [f"{one.line}{one.problem and f' (but {one.problem})'}" for one in fits]),
    ]
    facts = {
        "title": what,
        "component": identity.component,
        "variant": identity.variant,
        "details": identity.details,
        "model": identity.model,
        "dialect": identity.dialect,
        "prefix": identity.prefix,
        "container": source.container,
        "files": source.files,
        "tensors": len(source.tensors),
        "bytes": source.nbytes,
        "parameters": values,
        "precision": precision,
        "lora": identity.lora,
        "metadata": metadata,
        "fits": fits,
        **({"fingerprint": print_of} if print_of else {}),
    }
    return Found("weights", [row for row in rows if row[1]], facts)


def _names(identity: Identity) -> str:
    dialect = identity.dialect
    if not dialect:
        return ""
    return f"{dialect}, behind {identity.prefix!r}" if identity.prefix else dialect


def _first_names(source: TensorSource) -> str:
    """Some names of a file that nobody knows: people may."""
    names = [printable(name) for name in list(source.tensors)[:3]]
    names = [name if len(name) <= SHORT else f"{name[:SHORT]}…" for name in names]
    return ", ".join([*names, "…"] if len(source.tensors) > 3 else names)


def _size(count: int) -> str:
    return f"{gigabytes(count)} ({count} bytes)" if count >= 1e6 else f"{count} bytes"


def _judge(path: Path, source: TensorSource, plugins: Plugins) -> tuple[Identity, list[Fit]]:
    """What the file is, and the slots of installed families that it fits."""
    whole = identify(source)
    judged: dict[tuple[str, str | None], Identity] = {}
    fits: list[Fit] = []
    for family, slot, component in _slots(plugins):
        key = (component.kind, component.identify)
        if key not in judged:
            judged[key] = _by_component(component, source, plugins, whole)
        identity = judged[key]
        if identity.component != component.kind or misfit(
            component, identity, _widened(family, component, source)
        ):
            continue
        if component.bundled and not _same_sizes(component.bundled, identity):
            continue
        name = slot.partition(".")[0]
        line = f'family = "{family.name}", {name} = {_value(path, slot)}'
        fits.append(Fit(family.name, slot, line, _problem(component, source)))
    # a plugin knows its own kinds better than the core
    known = (one for one in judged.values() if one.component != "unknown")
    return (whole if whole.component != "unknown" else next(known, whole)), fits


def _widened(family: Family, component: Component, source: TensorSource) -> tuple[str, ...]:
    """Sizes by which a family's own LoRA files may make up for a file that is too narrow."""
    if not family.loras or not takes_loras(component):
        return ()
    try:
        return tuple(lora_targets(component, source, ()).widens.values())
    except WanCoreError:
        return ()


def _value(path: Path, slot: str) -> str:
    """A file as a workflow names it; a family of two experts has two transformers."""
    name = f'"{printable(path.name or str(path))}"'
    if "." in slot:
        return f"{{ high = {name}, low = {name} }}, whichever of the two it is"
    return name


def _slots(plugins: Plugins) -> Iterator[tuple[Family, str, Component]]:
    for family in plugins.families.values():
        for slot, component in family.components.items():
            # the second of two experts has the tensors of the first
            if component.needs_file and not slot.endswith(".low"):
                yield family, slot, component


def _by_component(
    component: Component, source: TensorSource, plugins: Plugins, whole: Identity
) -> Identity:
    if component.identify is None and whole.component == component.kind:
        return whole
    try:
        found = identify_for(component, source, plugins)
    except Exception:  # a plugin's mistake must not hide what the core knows
        return whole
    return attrs.evolve(found, precision=whole.precision)


def _same_sizes(bundled_file: str, identity: Identity) -> bool:
    """Is it of the sizes of the file that comes with the package?"""
    try:
        own = identify(open_weights(bundled(bundled_file)), identity.component)
    except (WanCoreError, OSError):
        return False
    return own.details == identity.details


def _problem(component: Component, source: TensorSource) -> str:
    try:
        if component.verify:
            resolve(component.verify)(source, component.config)
    except WanCoreError as error:
        return error.problem
    except Exception as error:  # a plugin's mistake
        return f"its check failed ({type(error).__name__})"
    return ""


def _lora_rows(identity: Identity, plugins: Plugins) -> Iterator[tuple[str, str]]:
    lora = identity.lora
    if lora is None:
        return
    ranks = ", ".join(f"{rank} ({_modules(count)})" for rank, count in list(lora.ranks.items())[:6])
    yield "form", ", ".join((lora.form, *lora.extras))
    yield "rank", str(lora.rank) if len(lora.ranks) == 1 else ranks
    yield "keys", f"{lora.keys} for {_modules(lora.modules)}"
    if lora.inputs:
        yield "inputs", f"{lora.inputs} channels, of the patch embedding"
    families = [
        family.name
        for family, slot, component in _slots(plugins)
        if slot == "transformer"
        and lora.width
        and component.config.get("dim") == lora.width
        and (not lora.inputs or component.config.get("in_dim", lora.inputs) == lora.inputs)
    ]
    yield (
        "made for",
        ", ".join(dict.fromkeys(families))
        and (f"transformers of width {lora.width}: {', '.join(dict.fromkeys(families))}"),
    )


def _left_out(count: int) -> str:
    more = "entries are" if count > 1 else "entry is"
    return f"{count} {more} too long to show, or no plain text"


def _modules(count: int) -> str:
    return f"{count} module{'s' * (count != 1)}"


def _short_metadata(metadata: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """Entries of the header that can be shown, and how many can't."""
    short = {  # sorted, as some writers store them in an order of the day
        key: value
        for key, value in sorted(metadata.items())
        if len(key) <= SHORT and len(value) <= SHORT and (key + value).isprintable()
    }
    kept = dict(list(short.items())[:MOST_ENTRIES])
    return kept, len(metadata) - len(kept)


def _count(values: int) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if values >= size:
            return f"{values / size:.2f} {unit}"
    return str(values)
