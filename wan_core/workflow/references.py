"""Names of stages, and references to what earlier stages make (``"NAME.video"``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.errors import nearest
from wan_core.contract.options import OptionError, show

_ODD = re.compile(r"[^A-Za-z0-9_-]")


def stage_names(stages: Sequence[object], others: Collection[str] = ()) -> list[str]:
    """The name of each stage table: its own, else that of its kind, numbered from the second on.

    Tables that are wrong otherwise get a name too; this only looks.

    Args:
        others: names that are taken.
    """
    tables = [stage if isinstance(stage, dict) else {} for stage in stages]
    taken = {name for table in tables if isinstance(name := table.get("name"), str)} | {*others}
    names = []
    for table in tables:
        name = table.get("name")
        if not isinstance(name, str):
            kind = table.get("use")
            name = _free(_ODD.sub("-", kind) if isinstance(kind, str) else "stage", taken)
            taken.add(name)
        names.append(name)
    return names


def post_names(posts: Sequence[Sequence[object]], names: Sequence[str]) -> list[list[str]]:
    """The name of each stage that ``post`` asks for, likewise: no stage that is written gets another by it.

    Args:
        posts: what ``post`` of each stage says.
        names: of the stages themselves.
    """
    tables = [[one if isinstance(one, dict) else {"use": one} for one in own] for own in posts]
    own = {name for of in tables for one in of if isinstance(name := one.get("name"), str)}
    taken = {*names, *own}
    found = []
    for of in tables:
        found.append(stage_names(of, taken))
        taken.update(found[-1])
    return found


def references(options: Any) -> Iterator[tuple[str, str]]:
    """Option and value of every reference to an earlier stage that ``options`` hold."""
    for field in attrs.fields(type(options)):
        value = getattr(options, field.name)
        if field.metadata.get("source") and isinstance(value, str):
            yield field.alias or field.name, value


def check_reference(
    option: str, value: str, earlier: Mapping[str, Collection[str]], names: Sequence[str]
) -> None:
    """Check that an earlier stage makes what an option refers to.

    Args:
        option: the option's name.
        value: ``"NAME.video"``.
        earlier: name -> outputs of the stages before this one.
        names: of all stages, in order.

    Raises:
        OptionError: it does not.
    """
    stage, dot, output = value.rpartition(".")
    if not dot:
        example = next((f"{n}.{o}" for n, made in earlier.items() for o in made), "NAME.video")
        raise OptionError(
            option,
            f"must name a stage and its output, not {show(value)}",
            remedy=f"write it like {show(example)}",
        )
    if stage in names and stage not in earlier:
        raise OptionError(
            option,
            f"refers to the stage {show(stage)}, which does not come before this one",
            remedy="a stage can only use what the stages above it make; change their order",
        )
    if stage not in earlier:
        raise OptionError(
            option,
            f"refers to {show(stage)}, but no earlier stage has that name",
            remedy=nearest(stage, earlier) or "no stage comes before this one",
        )
    if output not in earlier[stage]:
        raise OptionError(
            option,
            f"refers to {show(output)}, which the stage {show(stage)} does not make",
            remedy=nearest(output, earlier[stage]) or "it makes nothing to refer to",
        )


def _free(name: str, taken: Collection[str]) -> str:
    number = 1
    candidate = name
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
