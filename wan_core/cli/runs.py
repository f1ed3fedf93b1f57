"""``wan-core runs``: the runs that did not finish; what they have kept is decoded by ``runs decode``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from wan_core.cli.failures import presentable, tell
from wan_core.cli.options import Strict, debug_option, discover, leading_to, to_json
from wan_core.cli.text import columns
from wan_core.cli.unfinished import asked_before, plans_to_go_on
from wan_core.cli.wanted import Wanted
from wan_core.config import cache_folder
from wan_core.contract.errors import WorkflowError, nearest
from wan_core.contract.options import show
from wan_core.engine.unfinished import Unfinished, is_free, still_going_on, unfinished
from wan_core.memory import gigabytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wan_core.planning import Plan


def _decode() -> click.Command:
    return decode


@click.command(cls=leading_to("decode", _decode))
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def runs(json: bool) -> None:
    """List the runs that did not finish, newest first, and the commands that go on with them.

    wan-core runs decode RUN makes the video of one whose latents are kept, also when its files or versions
    have changed since (wan-core runs decode --help).
    """
    found = unfinished(cache_folder())
    if json:
        click.echo(to_json({"runs": [_as_json(run) for run in found]}))
        return
    rows = [("run", "workflow", "how far", "size", "goes on with")] if found else []
    rows += [
        (
            run.name,
            presentable(", ".join(filter(None, (run.card.workflow, run.card.label)))),
            _how_far(run),
            gigabytes(run.bytes),
            presentable(run.card.command) or "-",
        )
        for run in found
    ]
    click.echo("\n".join(columns(rows)) or "there is no unfinished run")


@click.command(cls=Strict)
@click.argument("name", metavar="RUN")
@click.option("-o", "--output", metavar="PATH", help="Write the video here instead.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.option("--json", is_flag=True, help="Print the events, one JSON object a line.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
def decode(name: str, output: str | None, overwrite: bool, json: bool, quiet: bool) -> int:
    """Make the video of an unfinished run whose latents are kept, whatever has changed since.

    \b
    wan-core runs decode 20260131-235959-x1y2z3 -o saved.mp4
    """
    from wan_core.cli.run import summary, terminated_like_interrupted
    from wan_core.cli.views import choose_view

    with choose_view(json=json, quiet=quiet) as view, terminated_like_interrupted():
        run = _named(name)
        if not is_free(run.path):
            raise still_going_on(run)
        asked = asked_before(run.card, Wanted(output=output, overwrite=overwrite))
        from wan_core.engine import Session
        from wan_core.workflow import load_workflows

        plugins = discover(asked.without)
        loaded = load_workflows(asked.workflow, asked.wanted.overrides, plugins=plugins)
        plan = _plan_of(run, plans_to_go_on(loaded, asked.wanted, plugins))
        with Session(
            plugins=plugins, device=asked.wanted.device, arguments=run.card.arguments
        ) as session:
            result = session.run(plan, listen=view, resume=run)
        lines = summary(result)
    if not (json or quiet):
        tell("\n".join(["", *lines]), sys.stdout)
    return 0


def _named(name: str) -> Unfinished:
    found = {run.name: run for run in unfinished(cache_folder())}
    if name not in found:
        raise WorkflowError(
            f"there is no unfinished run {show(name)}",
            remedy=nearest(name, found) or "wan-core runs lists them",
        )
    return found[name]


def _plan_of(run: Unfinished, plans: Sequence[Plan]) -> Plan:
    """The plan of the run: of a sweep, the one with its label."""
    for plan in plans:
        if plan.workflow.source.label == run.card.label:
            break
    else:
        raise WorkflowError(
            f"the workflow has no run any more for {show(run.card.label)}",
            where=run.card.workflow,
            remedy="make it the same again",
        )
    if run.card.outputs:
        raise WorkflowError(
            f"{run.name} is over, and has written {', '.join(map(show, run.card.outputs))}",
            remedy=f"{run.card.command} goes on with its sweep",
        )
    stage = plan.output_stage.name
    if stage not in run.kept():
        raise WorkflowError(
            f"the latents of {show(stage)} are not kept in {run.name}, which came as far as "
            f"{run.progress()}",
            remedy=f"{run.card.command} goes on with it",
        )
    return plan


def _how_far(run: Unfinished) -> str:
    if run.card.outputs:
        return "done, its sweep is not"
    return run.progress() + ("" if is_free(run.path) else ", still going on")


def _as_json(run: Unfinished) -> dict[str, Any]:
    card = attrs.asdict(run.card, filter=lambda field, _: field.name != "facts")
    return {
        "run": run.name,
        **card,
        "command": run.card.command,
        "progress": run.progress(),
        "kept": run.kept(),
        "bytes": run.bytes,
        "going_on": not is_free(run.path),
    }
