"""``wan-core plan``: the workflow with every default, and what a run would do."""

from __future__ import annotations

import tomllib

import click

from wan_core.cli.options import Strict, debug_option, discover, to_json, without_option
from wan_core.cli.wanted import Wanted, make_plans, wanted_options
from wan_core.weights.places import printable


@click.command(cls=Strict)
@click.argument("workflow")
@wanted_options
@without_option
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def plan(workflow: str, wanted: Wanted, without: tuple[str, ...], json: bool) -> None:
    """Check a workflow and show what a run would do; no weight is read.

    First comes the workflow with every default filled in, which is itself a workflow that can be
    run; then the machine, the files and the predicted memory, as comments. Of a sweep it shows the
    first run, and what the others write.
    """
    from wan_core.workflow import load_workflows, to_toml

    plugins = discover(without)
    made = make_plans(load_workflows(workflow, wanted.overrides, plugins=plugins), wanted, plugins)
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
