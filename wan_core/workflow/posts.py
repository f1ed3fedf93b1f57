"""``post = ["NAME", { use = "NAME", … }]``: stages that the video of a stage goes through.

An entry stands for a stage that takes the video of what is before it, and says the prompt of the stage that it
follows where it says none of its own.
"""

from __future__ import annotations

from typing import Any

from wan_core.contract.descriptions import Feature
from wan_core.contract.options import show
from wan_core.workflow.lines import KeyPath
from wan_core.workflow.reader import Reader
from wan_core.workflow.spec import StageSpec
from wan_core.workflow.structure import options_of

__all__ = ["TAKES", "post_table", "post_tables"]

TAKES, PROMPT, ITS_VIDEO = "video", "prompt", "video"


def post_tables(reader: Reader, path: KeyPath, raw: object) -> list[dict[str, Any]]:
    """Every entry as the table that it is short for; what it says is read later."""
    if not isinstance(raw, list):
        reader.refuse(
            path,
            f"post must be a list of stages, not {show(raw)}",
            'write it like post = ["NAME"], or post = [{ use = "NAME", steps = 20 }]',
        )
    tables = []
    for index, one in enumerate(raw):
        place = (*path, index)
        if not isinstance(one, str | dict):
            reader.refuse(
                place,
                f"post.{index} must be the name of a stage or a table, not {show(one)}",
                'write it like "NAME", or { use = "NAME", steps = 20 }',
            )
        table = {"use": one} if isinstance(one, str) else one
        _check_stage(reader, place if isinstance(one, str) else (*place, "use"), table.get("use"))
        if isinstance(one, str):
            reader.known(place, one, "stage")
        tables.append(table)
    return tables


def post_table(
    reader: Reader, path: KeyPath, table: dict[str, Any], before: StageSpec, first: StageSpec
) -> dict[str, Any]:
    """An entry with what follows from its place: the video that it takes, and the prompt.

    Args:
        table: as :func:`post_tables` gives it.
        before: the stage whose video it takes.
        first: the stage that asks for it.
    """
    if "use" not in table:
        installed = ", ".join(reader.plugins.stages) or "none"
        remedy = f'add use = "…" (installed are: {installed})'
        reader.refuse(path, "this entry of post does not say which stage to use", remedy)
    reader.known((*path, "use"), table["use"], "stage")
    description = reader.plugins.stage(table["use"])
    name = show(description.name)
    if ITS_VIDEO not in reader.plugins.stage(before.use).outputs:
        reader.refuse(path, f"the stage {show(before.name)} makes no video that {name} could take")
    fields = options_of(reader.options_class((*path, "use"), description, frozenset()))
    if TAKES not in fields or not fields[TAKES].metadata.get("source"):
        reader.refuse(
            path, f"the stage {name} takes no video of another stage", "name one that does"
        )
    for key, remedy in (
        (TAKES, "leave it out, or write a [[stages]] table"),
        ("post", "write the stages one after another in one list"),
    ):
        if key in table:
            reader.refuse((*path, key), f"post takes what is before it, so it has no {key}", remedy)
    given = {**table, TAKES: f"{before.name}.{ITS_VIDEO}"}
    prompt = getattr(first.options, PROMPT, None)
    if PROMPT in fields and PROMPT not in table and isinstance(prompt, str):
        given[PROMPT] = prompt
    return given


def _check_stage(reader: Reader, path: KeyPath, name: object) -> None:
    """A feature is asked for in another place."""
    features = reader.plugins.features
    if not isinstance(name, str) or name in reader.plugins.stages or name not in features:
        return
    feature: Feature = features[name]
    reader.refuse(
        path,
        f"{show(feature.name)} is a feature, and post is for stages",
        f'ask for it under [[stages.apply]] with use = "{feature.name}"',
    )
