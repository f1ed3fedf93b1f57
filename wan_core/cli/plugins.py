"""``wan-core plugins``: who is installed, what each brings, what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wan_core.cli.options import Strict, debug_option, discover, to_json, without_option
from wan_core.cli.text import columns
from wan_core.config import config_file

if TYPE_CHECKING:
    from wan_core.plugins import Plugins


@click.command(cls=Strict)
@without_option
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
def plugins(without: tuple[str, ...], json: bool) -> None:
    """List what is installed, what each plugin brings, and how to switch one off.

    CONTRACT is the version of wan-core's contract with plugins that each was made for.
    """
    found = discover(without)
    problems = [*found.problems, *hidden_commands(found)]
    if json:
        click.echo(to_json({"plugins": found.installed, "problems": problems}))
        return
    rows = [("NAME", "DISTRIBUTION", "VERSION", "CONTRACT", "STATE", "PROVIDES")]
    for one in found.installed:
        state = "broken" if one.problem else "on" if one.enabled else "off"
        provides, contract = _by_sort(one.provides) or "-", one.contract or "-"
        rows.append((one.name, one.distribution, one.version, contract, state, provides))
    lines = columns(rows)
    if problems:
        lines += ["", "Problems:", *columns([(problem,) for problem in problems], indent=2)]
    lines += [
        "",
        "To switch a plugin off:",
        *columns(
            [
                ("--without NAME", "for one command"),
                ("WAN_CORE_DISABLE=NAME,NAME", "in the environment"),
                ('[plugins] disable = ["NAME"]', f"for good, in {config_file()}"),
            ],
            indent=2,
        ),
    ]
    click.echo("\n".join(lines))


def hidden_commands(plugins: Plugins) -> list[str]:
    """A line for each command of a plugin that can't be called, as wan-core has one of its name."""
    from wan_core.cli.app import BUILT_IN

    return [
        f"{plugins.title_of(command)} can't be called, wan-core has its own"
        for name, command in plugins.commands.items()
        if name in BUILT_IN
    ]


def _by_sort(provides: tuple[str, ...]) -> str:
    """``("solver a", "solver b", "stage c")`` as ``"solver: a, b; stage: c"``."""
    sorts: dict[str, list[str]] = {}
    for one in provides:
        sort, _, name = one.rpartition(" ")
        sorts.setdefault(sort, []).append(name)
    return "; ".join(f"{sort}: {', '.join(names)}" for sort, names in sorts.items())
