"""``load_workflow``: ``workflow.toml`` to a :class:`Workflow`, and a sentence for each mistake."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from wan_core.contract.errors import WorkflowError, nearest
from wan_core.contract.options import show
from wan_core.workflow.document import read_document, read_text
from wan_core.workflow.migrations import check_format
from wan_core.workflow.models import read_models
from wan_core.workflow.overrides import apply_overrides
from wan_core.workflow.reader import Reader
from wan_core.workflow.source import LONE_MODEL, Source
from wan_core.workflow.spec import MemorySpec, OutputSpec, Workflow
from wan_core.workflow.stages import read_stages
from wan_core.workflow.sweeps import variants

if TYPE_CHECKING:
    from wan_core.plugins import Plugins

_TABLES = frozenset({"models", "stages", "memory", "output"})
_STREAMS = frozenset(map(Path, ("/dev", "/dev/fd", "/proc/self/fd")))


def load_workflow(
    path: str | Path, overrides: Sequence[str] = (), *, plugins: Plugins | None = None
) -> Workflow:
    """Read a workflow file that stands for one run.

    Args:
        path: the file; relative paths in it start from its folder.
        overrides: ``"stages.0.prompt=a red circle"`` …, later ones win.
        plugins: what is installed; None = discover.

    Raises:
        WorkflowError: the file can't be meant as it is, or is a sweep; file, line and key are named.
        PluginError: it asks for something that no plugin brings.
        ResourceError: it can't be opened.
    """
    return _only(load_workflows(path, overrides, plugins=plugins))


def load_workflows(
    path: str | Path, overrides: Sequence[str] = (), *, plugins: Plugins | None = None
) -> tuple[Workflow, ...]:
    """Read a workflow file: one workflow, or all those of a sweep (``seed = [1, 2, 3]``).

    See :func:`load_workflow` for arguments and errors.
    """
    if not str(path):
        raise WorkflowError("no workflow is named, only empty text", remedy="name a workflow.toml")
    file = Path(path)
    return parse_workflows(
        read_text(file),
        name=file.name,
        folder=_folder_of(file),
        overrides=overrides,
        plugins=plugins,
    )


def parse_workflow(
    text: str,
    *,
    name: str = "workflow",
    folder: Path = Path(),
    overrides: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> Workflow:
    """Read a workflow that stands for one run from a text; see :func:`load_workflow`.

    Args:
        name: what messages call the text.
        folder: what relative paths start from.
    """
    return _only(
        parse_workflows(text, name=name, folder=folder, overrides=overrides, plugins=plugins)
    )


def parse_workflows(
    text: str,
    *,
    name: str = "workflow",
    folder: Path = Path(),
    overrides: Sequence[str] = (),
    plugins: Plugins | None = None,
) -> tuple[Workflow, ...]:
    """Read a workflow, or all those of a sweep, from a text; see :func:`parse_workflow`."""
    if isinstance(overrides, str):
        raise TypeError('overrides are a list of texts, such as ["stages.0.seed=7"], not one text')
    table, lines = read_document(text, name)
    source = Source(name, folder.absolute(), lines, lone_model="model" in table)
    _unite_models(table, source)
    source = attrs.evolve(source, overrides=apply_overrides(table, overrides))
    check_format(table, source)
    if plugins is None:
        from wan_core.plugins import Plugins

        plugins = Plugins.discover()
    return tuple(
        _read(Reader(plugins, attrs.evolve(source, label=one.label, varied=one.varied)), one.table)
        for one in variants(Reader(plugins, source), table)
    )


def _only(workflows: Sequence[Workflow]) -> Workflow:
    if len(workflows) > 1:
        raise WorkflowError(
            f"this is a sweep of {len(workflows)} runs where one is wanted",
            where=workflows[0].source.name,
            remedy="give one value instead of each list",
        )
    return workflows[0]


def _folder_of(file: Path) -> Path:
    """Where relative paths start: for ``/dev/stdin`` and the shell's ``<(…)`` the current folder."""
    folder = file.absolute().parent
    return Path.cwd() if folder in _STREAMS else folder


def _unite_models(table: dict[str, Any], source: Source) -> None:
    """Turn a lone ``[model]`` into ``[models.main]``."""
    if "model" in table and "models" in table:
        raise WorkflowError(
            "there are both [model] and [models]",
            where=source.where("model"),
            remedy="[model] is short for [models.main]: write that",
        )
    if "model" in table:
        table["models"] = {LONE_MODEL[1]: table.pop("model")}


def _read(reader: Reader, table: dict[str, Any]) -> Workflow:
    for key in table:
        if key not in _TABLES | {"format"}:
            remedy = nearest(key, _TABLES | {"format", "model"})
            reader.refuse((key,), f"a workflow has no {show(key)}", remedy)
    models = read_models(reader, table.get("models", {}))
    stages = read_stages(reader, table.get("stages", []), models)
    memory = reader.structure(("memory",), table.get("memory", {}), MemorySpec)
    written = {"path": "out.mp4"} | reader.table(("output",), table.get("output", {}))
    output = reader.structure(("output",), written, OutputSpec)
    if output.stage is not None and output.stage not in (
        names := [one.name for s in stages for one in (s, *s.post)]
    ):
        problem = f"there is no stage {show(output.stage)}"
        reader.refuse(("output", "stage"), problem, nearest(output.stage, names))
    return Workflow(table["format"], models, stages, memory, output, reader.source)
