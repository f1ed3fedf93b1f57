"""``wan-core plan``: the workflow with every default, and what a run would do."""

from __future__ import annotations

import tomllib

import click

from wan_core.cli.options import (
    debug_option,
    discover,
    to_json,
    without_option,
    workflow_options,
)
from wan_core.cli.run import make_plan


@click.command()
@workflow_options
@without_option
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def plan(
    workflow: str,
    overrides: tuple[str, ...],
    device: str,
    output: str | None,
    without: tuple[str, ...],
    json: bool,
) -> None:
    """Check a workflow and show what a run would do; no weight is read.

    First comes the workflow with every default filled in, which is itself a workflow that can be
    run; then the machine, the files and the predicted memory, as comments.
    """
    from wan_core.workflow import to_toml

    made = make_plan(workflow, overrides, output, device, discover(without))
    resolved = to_toml(made.workflow)
    if json:
        sections = dict(made.describe())
        click.echo(to_json({"workflow": tomllib.loads(resolved), "plan": sections}))
        return
    click.echo(resolved.rstrip())
    for title, lines in made.describe():
        click.echo(f"\n# {title}")
        for line in lines:
            click.echo(f"#   {line}")
