"""What the bits of a run depend on, said so that two runs can be told apart in words."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from wan_core.contract.options import show
from wan_core.planning import Plan
from wan_core.planning.provenance import fingerprints, input_sums, portable_workflow, versions
from wan_core.plugins import Plugins
from wan_core.workflow import to_toml
from wan_core.workflow.spec import KNOBS

WITHOUT_EFFECT = ("vram", "ram", *KNOBS, "block_swap_debug")
"""Keys of ``[memory]`` that move weights about and change no bit; what they lead to is said for itself."""

MOST_SAID = 3

Facts = Mapping[str, str]


def identity(plan: Plan, plugins: Plugins, machine: Facts) -> dict[str, str]:
    """Everything that the latents of a run depend on, by what it is called.

    Args:
        machine: what the engine knows of the machine.
    """
    content = tomllib.loads(to_toml(portable_workflow(plan.workflow)))
    content.pop("output", None)
    memory = content.get("memory", {})
    for key in WITHOUT_EFFECT:
        memory.pop(key, None)
    groups: tuple[tuple[str, Facts], ...] = (
        ("", dict(_flat(content))),
        ("the file of ", {**fingerprints(plan), **input_sums(plan.workflow)}),
        ("version of ", versions(plugins)),
        ("", {**machine, **_placed(plan)}),
    )
    return {f"{title}{key}": value for title, facts in groups for key, value in facts.items()}


def digest(facts: Facts) -> str:
    """The plan's hash: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()


def differences(before: Facts, now: Facts) -> str:
    """What differs, in words: ``"stages.0.seed was 7, is now 8"``; "" when nothing does."""
    keys = [*now, *(key for key in before if key not in now)]
    differing = [key for key in keys if before.get(key) != now.get(key)]
    said = [_difference(key, before.get(key), now.get(key)) for key in differing[:MOST_SAID]]
    if len(differing) > MOST_SAID:
        said.append(f"and {len(differing) - MOST_SAID} more")
    return ", ".join(said)


def _difference(key: str, before: str | None, now: str | None) -> str:
    if key.startswith("the file of "):
        return f"{show(key)[1:-1]} is another"
    one, other = _read(before), _read(now)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        # of two lists only their lengths are shown, which are no difference
        pairs = enumerate(zip(one, other, strict=True))
        if (place := next((place for place, (a, b) in pairs if a != b), None)) is not None:
            key, one, other = f"{key}.{place}", one[place], other[place]
    said = (
        "not given" if text is None else show(value)
        for text, value in ((before, one), (now, other))
    )
    return "{} was {}, is now {}".format(show(key)[1:-1], *said)


def _read(value: str | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except (ValueError, RecursionError):
        return value


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _flat(one, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
        for index, one in enumerate(value):
            yield from _flat(one, f"{path}.{index}")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _placed(plan: Plan) -> dict[str, str]:
    """Where components compute and in which pieces: each device and each size of a product has its bits."""
    found = {}
    for model in plan.models.values():
        for slot, placement in model.placements.items():
            if placement.device is not None:
                found[f"device of {model.name}.{slot}"] = str(placement.device)
            if placement.rows is not None:
                found[f"rows of {model.name}.{slot}"] = str(placement.rows)
    return found
