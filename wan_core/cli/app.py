"""``run_command_line``: finds the command, and turns every error into one sentence and an exit code."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from wan_core.cli.failures import BROKEN_PIPE, explain, silence, tell_sentence, tell_traceback
from wan_core.cli.options import Settings, discover
from wan_core.contract.descriptions import Command
from wan_core.contract.errors import PluginError, WanCoreError, WorkflowError, nearest
from wan_core.contract.lazy import resolve

BUILT_IN: Mapping[str, Command] = {
    one.name: one
    for one in (
        Command("run", "Run a workflow and write its video.", "wan_core.cli.run:run"),
        Command("plan", "Check a workflow and show what a run would do.", "wan_core.cli.plan:plan"),
        Command(
            "runs",
            "List runs that did not finish, decode what they kept.",
            "wan_core.cli.runs:runs",
        ),
        Command("rerun", "Make a video again and compare.", "wan_core.cli.rerun:rerun"),
        Command(
            "inspect",
            "Say what weight files, workflows and videos are.",
            "wan_core.cli.inspect:inspect",
        ),
        Command("quantize", "Write a transformer in fewer bits.", "wan_core.cli.quantize:quantize"),
        Command("models", "List model families, presets and files.", "wan_core.cli.models:models"),
        Command("plugins", "List what is installed.", "wan_core.cli.plugins:plugins"),
        Command("doctor", "Check this machine and installation.", "wan_core.cli.doctor:doctor"),
    )
}


class Commands(click.Group):
    """The built-in commands and those of plugins; a command is imported only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*BUILT_IN, *sorted(self._of_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in BUILT_IN:
            command: click.Command = resolve(BUILT_IN[cmd_name].run)
            return command
        brought = self._of_plugins().get(cmd_name)
        return _plugin_command(brought) if brought else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise WorkflowError(
                f'there is no command "{args[0]}"',
                remedy=nearest(args[0], self.list_commands(ctx)),
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        try:
            brought = self._of_plugins()
        except WanCoreError as error:
            # help must help when the configuration is what is broken
            brought = {}
            self.epilog = f"Commands of plugins are missing: {error}"
        for title, commands in (("Commands", BUILT_IN), ("Commands of plugins", brought)):
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(one.name, one.summary) for one in commands.values()])

    def _of_plugins(self) -> Mapping[str, Command]:
        commands = discover(warn=False).commands
        return {name: one for name, one in commands.items() if name not in BUILT_IN}


def _plugin_command(brought: Command) -> click.Command:
    def run(arguments: tuple[str, ...]) -> int:
        try:
            function = resolve(brought.run)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f'command "{brought.name}" can\'t be loaded ({error})',
                remedy="see wan-core plugins for who brings it",
            ) from error
        code: int = function(list(arguments))
        return code

    return click.Command(
        brought.name,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )


def _show_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        try:
            version = metadata.version("wan-core")
        except metadata.PackageNotFoundError:
            version = "0+source"
        click.echo(f"wan-core {version} (Python {platform.python_version()})")
        ctx.exit()


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try: wan-core run examples/hello.toml",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
@click.pass_context
def cli(ctx: click.Context) -> None:
    """wan-core makes videos with models of the Wan family, inside a memory budget."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_command_line(arguments: Sequence[str] | None) -> int:
    """Run the command line (``sys.argv`` when None) and return its exit code."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    code = _invoke(list(sys.argv[1:] if arguments is None else arguments))
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(stream)
    return code


def _invoke(arguments: list[str]) -> int:
    settings = Settings()
    try:
        with cli.make_context("wan-core", arguments, obj=settings) as context:
            code: Any = cli.invoke(context)
        return int(code or 0)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except BrokenPipeError:
        silence(sys.stdout)
        return BROKEN_PIPE
    except BaseException as error:
        sentence, exit_code = explain(error)
        if settings.debug:
            tell_traceback(error)
        tell_sentence(sentence)
        return exit_code


def _open_closed_streams() -> None:
    """Put a stream that leads nowhere in the place of each that was closed (``>&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
