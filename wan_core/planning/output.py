"""Where a video is written: ``[output] path`` with its fields filled in.

``outputs/{name}-{seed}.mp4`` may hold

* ``{name}``: the workflow file's name without its ending; ``{stage}``, ``{family}``;
* ``{date}``, ``{time}``: now, as 20260131 and 235959;
* ``{n}``: the first number from 1 that makes a new name;
* every option of the stage that is a number or a text: ``{seed}``, ``{steps}``, ``{prompt}`` …

Braces that are meant are doubled. What is filled in becomes letters, digits and ``-``: it can't lead into
another folder.
"""

from __future__ import annotations

import os
import re
import time
import unicodedata
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import attrs

from wan_core.contract.errors import WorkflowError, nearest
from wan_core.contract.options import show
from wan_core.media.formats import unit_of
from wan_core.planning.plan import PlannedStage
from wan_core.workflow import Workflow

LONGEST = 60
"""Characters of a text that a name takes up."""

MOST_NAMES = 100_000

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_ODD = re.compile(r"[^\w.+-]+")


def output_path(
    workflow: Workflow, stage: PlannedStage, family: str, taken: Collection[str] = ()
) -> Path:
    """The file that the run will write.

    Args:
        stage: the stage whose video is written, its options filled in.
        taken: what other runs of the same sweep will write, as :func:`alike` gives it.

    Raises:
        WorkflowError: a field is unknown or not given, a brace stands alone, or the path is no single line.
    """
    where = workflow.source.where("output.path")
    base, template = _split(workflow)
    if set(template) & set("\n\t"):
        raise WorkflowError("the path of the video has a line end or a tab in it", where=where)
    values = _values(workflow, stage, family)
    used: set[str] = set()

    def fill(n: int) -> Path:
        def replace(match: re.Match[str]) -> str:
            field = match[1]
            if field is None:
                if match[0] in ("{{", "}}"):
                    return match[0][0]
                raise WorkflowError(
                    f"a lone {match[0]} stands in {show(template)}",
                    where=where,
                    remedy="double it if the file's name shall have one",
                )
            used.add(field)
            if field == "n":
                return str(n)
            if field not in values:
                raise WorkflowError(
                    f"the path has an unknown field {show('{' + field + '}')}",
                    where=where,
                    remedy=nearest(field, {*values, "n"}),
                )
            return name_of(values[field])

        return base / _FIELD.sub(replace, template)

    path = fill(1)
    if "n" in used:
        return _first_free(fill, taken, where)
    parts = [text for key, text in workflow.source.varied if key not in used]
    if parts:
        path = with_ending(path, "-".join(["", *parts]))
    number = 2
    plain = path
    while alike(path) in taken:
        path, number = with_ending(plain, f"-{number}"), number + 1
    return path


def with_ending(path: Path, ending: str) -> Path:
    """``clip.mp4`` -> ``clip-7.mp4``; for a sequence of pictures the folder: ``clip-7/%05d.png``."""
    if (folder := unit_of(path)) != path:
        return folder.parent / f"{folder.name}{ending}" / path.name
    return path.with_name(f"{path.stem}{ending}{path.suffix}")


def alike(path: Path) -> str:
    """Equal for paths that some file system takes for the same: ``Cat.mp4`` and ``cat.mp4``."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def name_of(value: object) -> str:
    """A value as a part of a file's name: letters, digits, ``_``, ``-``, ``+`` and ``.`` inside."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return _ODD.sub("-", unicodedata.normalize("NFC", text))[:LONGEST].strip("-._") or "untitled"


def _split(workflow: Workflow) -> tuple[Path, str]:
    """The folder that the user did not write, whose braces mean nothing, and what was written."""
    path = workflow.output.path
    for base in (workflow.source.folder, Path.cwd()):
        if path.is_relative_to(base):
            return base, str(path.relative_to(base))
    return Path(), str(path)


def _values(workflow: Workflow, stage: PlannedStage, family: str) -> Mapping[str, object]:
    now = time.localtime()
    options = {
        (field.alias or field.name): getattr(stage.needs.options, field.name)
        for field in attrs.fields(type(stage.needs.options))
    }
    return {
        **{key: v for key, v in options.items() if isinstance(v, str | int | float)},
        "name": Path(workflow.source.name).stem,
        "stage": stage.name,
        "family": family,
        "date": time.strftime("%Y%m%d", now),
        "time": time.strftime("%H%M%S", now),
    }


def _first_free(fill: Callable[[int], Path], taken: Collection[str], where: str) -> Path:
    for n in range(1, MOST_NAMES):
        path = fill(n)
        if alike(path) not in taken and not os.path.lexists(unit_of(path)):
            return path
    raise WorkflowError(
        f"all names up to number {MOST_NAMES} are taken", where=where, remedy="use another name"
    )
