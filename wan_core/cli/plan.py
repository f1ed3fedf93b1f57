"""``wan-core plan``: the workflow with every default, and what a run would do."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import click

from wan_core.cli.budgets import budget_lines, read_budgets
from wan_core.cli.options import Strict, debug_option, discover, to_json, without_option
from wan_core.cli.wanted import Wanted, make_plans, wanted_options
from wan_core.weights.places import printable

if TYPE_CHECKING:
    from wan_core.plugins import Plugins
    from wan_core.workflow import Workflow


@click.command(cls=Strict)
@click.argument("workflow")
@wanted_options
@without_option
@click.option(
    "--vram", metavar="SIZE,…",
    help="Print what the run would do on GPUs of these sizes, such as 8GiB,12GiB,24GiB.",
)  # fmt: skip
@click.option(
    "--assume-files", is_flag=True,
    help="Count with the makers' files where they are not here: what a run would take, before fetching them.",
)  # fmt: skip
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def plan(
    workflow: str,
    wanted: Wanted,
    without: tuple[str, ...],
    vram: str | None,
    assume_files: bool,
    json: bool,
) -> None:
    """Check a workflow and show what a run would do; no weight is read.

    First comes the workflow with every default filled in, which is itself a workflow that can be
    run; then the machine, the files and the predicted memory, as comments. Of a sweep it shows the
    first run, and what the others write.
    """
    from wan_core.workflow import load_workflows, to_toml

    budgets = None if vram is None else read_budgets(vram)
    plugins = discover(without)
    workflows = load_workflows(workflow, wanted.overrides, plugins=plugins)
    if budgets is not None:
        _tell_budgets(workflows[0], wanted, plugins, budgets, assume_files, json)
        return
    made = make_plans(workflows, wanted, plugins, assume_files=assume_files)
    first, *others = made
    resolved = to_toml(first.workflow)
    sections = list(first.describe())
    if others:
        runs = [f"{one.workflow.source.label}: {one.output}" for one in made]
        sections.append((f"Sweep of {len(made)} runs", runs))
    if json:
        click.echo(to_json({"workflow": tomllib.loads(resolved), "plan": dict(sections)}))
        return
    click.echo(resolved.rstrip())
    for title, lines in sections:
        click.echo(f"\n# {printable(title)}")
        for line in lines:
            click.echo(f"#   {printable(line)}")


def _tell_budgets(
    workflow: Workflow,
    wanted: Wanted,
    plugins: Plugins,
    budgets: Sequence[int],
    assume_files: bool,
    json: bool,
) -> None:
    from wan_core.planning import has_cuda, is_cuda, table_of_budgets
    from wan_core.workflow.spec import KNOBS

    # what the workflow asks of this machine's memory is no matter here, nor a GPU that it has not
    anywhere = attrs.evolve(workflow, memory=attrs.evolve(workflow.memory, vram=None, ram=None))
    devices = {wanted.device, *(one.device for one in workflow.models.values())}
    if any(is_cuda(one) for one in devices) and not has_cuda():
        models = {name: attrs.evolve(m, device="auto") for name, m in workflow.models.items()}
        anywhere = attrs.evolve(anywhere, models=models)
        wanted = attrs.evolve(wanted, device="auto" if is_cuda(wanted.device) else wanted.device)
    (made,) = make_plans([anywhere], wanted, plugins, assume_files=assume_files)
    rows = table_of_budgets(made, workflow.memory, budgets)
    if json:
        click.echo(to_json({"budgets": rows}))
        return
    stated = [key for key in KNOBS if getattr(workflow.memory, key) is not None]
    for line in budget_lines(rows, stated):
        click.echo(printable(line))
