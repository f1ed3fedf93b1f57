"""The paths in options: found to be checked and recorded, changed to be portable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from wan_core.workflow.spec import Workflow


def paths_in(value: Any, key: str = "") -> Iterator[tuple[str, Path]]:
    """Every path in options, however deep, with its key: ``("tracks", Path(…))``, ``("clips.0", …)``."""
    if isinstance(value, Path):
        yield key, value
        return
    for part, inner in _parts(value):
        yield from paths_in(inner, f"{key}.{part}" if key else str(part))


def options_by_key(workflow: Workflow) -> dict[str, Any]:
    """The options of all stages and features by their place: ``"stages.0.apply.1"``."""
    found = {stage.key: stage.options for stage in workflow.every_stage}
    for stage in workflow.every_stage:
        found |= {feature.key: feature.options for feature in stage.apply}
    return found


def with_paths(value: Any, change: Callable[[Path], Path]) -> Any:
    """The same options with every path changed."""
    if isinstance(value, Path):
        return change(value)
    if attrs.has(type(value)):
        fields = [f for f in attrs.fields(type(value)) if f.init]
        held = {f.alias or f.name: getattr(value, f.name) for f in fields}
        changed = {key: with_paths(one, change) for key, one in held.items()}
        new = {key: one for key, one in changed.items() if one is not held[key]}
        return attrs.evolve(value, **new) if new else value
    if isinstance(value, Mapping):
        return {key: with_paths(one, change) for key, one in value.items()}
    if isinstance(value, tuple | list):
        changed_items = [with_paths(one, change) for one in value]
        same = all(a is b for a, b in zip(changed_items, value, strict=True))
        return value if same else type(value)(changed_items)
    return value


def _parts(value: Any) -> Iterator[tuple[str | int, Any]]:
    if attrs.has(type(value)):
        yield from ((f.alias or f.name, getattr(value, f.name)) for f in attrs.fields(type(value)))
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
