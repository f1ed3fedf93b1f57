"""Overrides from the command line: ``-s stages.0.prompt="…"``, ``-s output.path=clip.mp4``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from wan_core.contract.errors import WorkflowError, nearest
from wan_core.contract.options import show
from wan_core.workflow.lines import KeyPath, read_key, write_key
from wan_core.workflow.references import stage_names
from wan_core.workflow.source import LONE_MODEL

_SEVERAL = re.compile(r"[+-]?\d+(?:\s*,\s*[+-]?\d+)+")
_FORM = 'write it like stages.0.seed=7 or output.path="clip.mp4"'


def apply_overrides(table: dict[str, Any], overrides: Iterable[str]) -> dict[KeyPath, str]:
    """Set what the overrides say in ``table`` (changed in place); later ones win.

    An item of a list is named by position or by name: ``stages.0.seed``, ``stages.main.seed``.
    Tables that are missing are made; whether the keys mean anything is left to the reading of the
    table.

    Args:
        table: a workflow's table in which ``[model]`` has become ``[models.main]``.
        overrides: ``"KEY=VALUE"``. A value that is no TOML is text.

    Returns:
        path of each key that was set -> ``"-s KEY"``, with the key as it was written.

    Raises:
        WorkflowError: an override is no ``KEY=VALUE``, or its key leads nowhere.
    """
    made: dict[KeyPath, str] = {}
    for override in overrides:
        parts, written, value = _split(override)
        if parts[0] == "model":
            parts = (*LONE_MODEL, *parts[1:])
        where = f"-s {written}"
        path = _set(table, parts, value, where)
        made = {old: other for old, other in made.items() if old[: len(path)] != path}
        made[path] = where
    return made


def _split(override: str) -> tuple[KeyPath, str, Any]:
    try:
        parts, end = read_key(override)
    except ValueError:
        raise WorkflowError(
            "this override begins with no key", where=_where(override), remedy=_FORM
        ) from None
    if not override.startswith("=", end):
        raise WorkflowError("this override is no KEY=VALUE", where=_where(override), remedy=_FORM)
    return parts, write_key(parts), _value(override[end + 1 :].strip(), parts[-1])


def _where(override: str) -> str:
    return f"-s {show(override)}"


def _value(text: str, key: object) -> Any:
    """A TOML value if it is one, else text; ``seed=1,2,3`` needs no brackets to be a list."""
    if key == "seed" and _SEVERAL.fullmatch(text):
        text = f"[{text}]"
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text


def _set(table: dict[str, Any], parts: KeyPath, value: Any, where: str) -> KeyPath:
    """Set the value that ``parts`` lead to; the path that was taken."""
    node: Any = table
    path: KeyPath = ()
    for part, following in zip(parts, (*parts[1:], None), strict=True):
        key: Any = part
        if isinstance(node, list):
            key = _position(node, str(part), path, where)
        elif not isinstance(node, dict):
            raise WorkflowError(f"{write_key(path)} is {show(node)}, not a table", where=where)
        path = (*path, key)
        if following is None:
            node[key] = value
        elif isinstance(node, dict) and key not in node:
            if str(following).isdecimal():
                raise WorkflowError(
                    f"there is no {write_key((*path, following))}",
                    where=where,
                    remedy="add it to the file first",
                )
            node = node.setdefault(key, {})
        else:
            node = node[key]
    return path


def _position(items: list[Any], part: str, path: KeyPath, where: str) -> int:
    """The position in the list at ``path`` that a number or a name means."""
    if path == ("stages",):
        names = stage_names(items)
    else:
        tables = [item if isinstance(item, dict) else {} for item in items]
        names = [str(table.get("use", "")) for table in tables]
    if part in names:
        return names.index(part)
    if part.isdecimal() and len(part) < 9 and int(part) < len(items):
        return int(part)
    remedy = nearest(part, filter(None, names))
    if part.isdecimal() or not remedy.startswith("did you mean"):
        keys = [write_key((*path, index)) for index in range(len(names))]
        known = [
            f"{key} ({write_key((name,))})" if name else key
            for key, name in zip(keys, names, strict=True)
        ]
        amount = "is only" if len(known) == 1 else "are"
        remedy = f"there {amount} " + (", ".join(known) or "none")
    problem = f"there is no {write_key((*path, part))}"
    raise WorkflowError(problem, where=where, remedy=remedy)
