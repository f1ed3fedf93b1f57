"""Sweeps: a list in the place of a seed or a prompt stands for one run for each of its items.

``seed = [1, 2, 3]`` in a stage makes three workflows of one; two lists make all combinations. Which options
may be lists, their fields say (``sweep`` in :mod:`wan_core.contract.options`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import attrs

from wan_core.contract.errors import WanCoreError
from wan_core.contract.options import show
from wan_core.workflow.lines import KeyPath, write_key
from wan_core.workflow.reader import Reader
from wan_core.workflow.structure import options_of

MOST_RUNS = 1000
"""More runs than anybody means."""


@attrs.frozen
class Axis:
    """A list that is swept: where it stands, and its items."""

    stage: int
    key: str
    items: Sequence[Any]

    @property
    def path(self) -> KeyPath:
        return ("stages", self.stage, self.key)


@attrs.frozen
class Variant:
    """One run of a sweep.

    Attributes:
        table: the document with a single value in the place of each list.
        label: the values that it has: ``"seed 7"``; empty when there is no sweep.
        varied: each swept key with what stands for its value in a file's name: ``("seed", "7")``.
    """

    table: dict[str, Any]
    label: str = ""
    varied: tuple[tuple[str, str], ...] = ()


def variants(reader: Reader, table: dict[str, Any]) -> list[Variant]:
    """The runs that a document stands for, in order; the last list runs through fastest.

    Raises:
        WorkflowError: a list is empty or holds something twice, or there are too many runs.
    """
    axes = list(_axes(reader, table.get("stages")))
    for axis in axes:
        if not axis.items:
            reader.refuse(axis.path, f"{axis.key} is an empty list", "give at least one value")
    runs = prod(len(axis.items) for axis in axes)
    if runs > MOST_RUNS:
        reader.refuse(
            axes[-1].path,
            f"these lists make a sweep of {runs} runs",
            f"the most is {MOST_RUNS}: shorten a list",
        )
    for axis in axes:
        _refuse_twins(reader, axis)
    numbered = [list(enumerate(axis.items, 1)) for axis in axes]
    return [_variant(table, axes, choice) for choice in product(*numbered)]


def _axes(reader: Reader, stages: object) -> Iterator[Axis]:
    for index, stage in enumerate(stages if isinstance(stages, list) else ()):
        # what is no table, or no known stage, is refused when the document is read
        use = stage.get("use") if isinstance(stage, dict) else None
        description = reader.plugins.stages.get(use) if isinstance(use, str) else None
        if description is None:
            continue
        try:
            fields = options_of(reader.options_class(("stages", index), description, frozenset()))
        except WanCoreError:
            continue
        for key, field in fields.items():
            if field.metadata.get("sweep") and isinstance(stage.get(key), list):
                yield Axis(index, key, stage[key])


def _refuse_twins(reader: Reader, axis: Axis) -> None:
    for index, item in enumerate(axis.items):
        if item in axis.items[:index]:
            place = (*axis.path, index)
            reader.refuse(place, f"{write_key(place)} is there twice", "keep one of them")


def _variant(
    table: dict[str, Any], axes: Sequence[Axis], choice: Sequence[tuple[int, Any]]
) -> Variant:
    stages = [dict(stage) if isinstance(stage, dict) else stage for stage in _stages(table)]
    labels, varied = [], []
    for axis, (number, item) in zip(axes, choice, strict=True):
        stages[axis.stage][axis.key] = item
        if len(axis.items) > 1:
            labels.append(f"{axis.key} {show(item)}")
            # numbers are short and say it themselves; texts are numbered
            varied.append((axis.key, str(item if isinstance(item, int) else f"{axis.key}{number}")))
    document = {**table, "stages": stages} if axes else table
    return Variant(document, ", ".join(labels), tuple(varied))


def _stages(table: Mapping[str, Any]) -> list[Any]:
    stages = table.get("stages")
    return stages if isinstance(stages, list) else []
