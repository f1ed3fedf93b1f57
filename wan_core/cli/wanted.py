"""From the command line to plans: the options that ``run``, ``plan`` and ``rerun`` share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from wan_core.contract.errors import WorkflowError
from wan_core.contract.options import show, unprintable

if TYPE_CHECKING:
    from wan_core.planning import Plan
    from wan_core.plugins import Plugins
    from wan_core.workflow import Workflow

_F = TypeVar("_F", bound=Callable[..., Any])

UNTRUSTED_FOLDER = "outputs"
"""Where a stranger's workflow writes unless ``-o`` says otherwise, in the current folder."""


@attrs.frozen
class Wanted:
    """What the command line says beside the workflow.

    Attributes:
        overrides: ``"KEY=VALUE"`` …
        device: ``"auto"`` leaves it to the workflow.
        output: the path after ``-o``; it counts from the current folder.
        overwrite: a file that is there already is replaced.
        untrusted: the workflow is a stranger's.
    """

    overrides: tuple[str, ...] = ()
    device: str = "auto"
    output: str | None = None
    overwrite: bool = False
    untrusted: bool = False


def wanted_options(function: _F) -> _F:
    """The options of :class:`Wanted` on a command, which gets them as the argument ``wanted``."""

    @functools.wraps(function)
    def gather(**arguments: Any) -> Any:
        said = {field.name: arguments.pop(field.name) for field in attrs.fields(Wanted)}
        return function(wanted=Wanted(**said), **arguments)

    decorated: Any = gather
    for decorate in (
        click.option(
            "--untrusted", is_flag=True,
            help="For a stranger's file: read only from the model folders, write only to ./outputs.",
        ),
        click.option("--overwrite", is_flag=True, help="Replace a file that is there already."),
        click.option(
            "-o", "--output", metavar="PATH",
            help="Write the video here instead (counted from this folder).",
        ),
        click.option(
            "--device", default="auto", show_default=True, metavar="DEVICE",
            help="auto, cpu, cuda or cuda:N.",
        ),
        click.option(
            "-s", "--set", "overrides", multiple=True, metavar="KEY=VALUE",
            help="Overrule a key of the workflow, such as stages.0.seed=7 (several times).",
        ),
    ):  # fmt: skip
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]


def make_plans(
    workflows: Sequence[Workflow],
    wanted: Wanted,
    plugins: Plugins,
    *,
    assume_files: bool = False,
) -> tuple[Plan, ...]:
    """Plan workflows as the command line wants them.

    What is wrong with ``-o`` and ``--device`` is said of these options.
    """
    from wan_core.planning import configured, confine
    from wan_core.planning import make_plans as plan_them

    library = configured(confined=wanted.untrusted)
    folder = Path(UNTRUSTED_FOLDER).absolute()
    if wanted.untrusted:
        workflows = [
            confine(one, library, folder, own_output=wanted.output is not None) for one in workflows
        ]
    plans = plan_them(
        [_with_device(_with_output(one, wanted), wanted) for one in workflows],
        plugins,
        device=wanted.device,
        library=library,
        assume_files=assume_files,
    )
    if wanted.untrusted and wanted.output is None:
        from wan_core.planning import check_confined

        for plan in plans:
            check_confined(plan.workflow, plan.output, folder)
    return plans


def _with_output(workflow: Workflow, wanted: Wanted) -> Workflow:
    output = workflow.output
    if wanted.overwrite:
        output = attrs.evolve(output, overwrite=True)
    if wanted.output is None:
        return attrs.evolve(workflow, output=output)
    source = workflow.source.overruled(("output", "path"), "-o")
    output = attrs.evolve(output, path=_target(wanted.output))
    return attrs.evolve(workflow, output=output, source=source)


def _with_device(workflow: Workflow, wanted: Wanted) -> Workflow:
    if wanted.device == "auto":
        return workflow
    source = workflow.source
    for name in workflow.models:
        source = source.overruled(("models", name, "device"), "--device")
    return attrs.evolve(workflow, source=source)


def _target(output: str) -> Path:
    """The path after ``-o``; ``~`` is the home folder, also where the shell has left it alone."""
    problem = "must not be empty" if not output else unprintable(output)
    if set(output) & set("\n\t"):
        problem = "has a line end or a tab in it"
    if problem:
        raise WorkflowError(f"the path of the video {problem}", where="-o")
    try:
        return Path(output).expanduser().absolute()
    except RuntimeError:
        problem = f"{show(output)} names a home folder that does not exist"
        raise WorkflowError(problem, where="-o") from None
