"""What the commands share: common options, and the plugins they ask for."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from wan_core.cli.failures import tell
from wan_core.config import config_file, load_config
from wan_core.contract.errors import PluginError, WorkflowError, nearest
from wan_core.contract.options import show

if TYPE_CHECKING:
    from wan_core.plugins import Plugins

_F = TypeVar("_F", bound=Callable[..., Any])


@attrs.define
class Settings:
    """What options say about the whole program."""

    debug: bool = False


class Strict(click.Command):
    """A command that takes an option with a value once, unless several are meant: which would count?"""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        args = [self._with_value(one) for one in args]
        try:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise
        for one in given:
            takes_value = isinstance(one, click.Option) and not (one.is_flag or one.multiple)
            if takes_value and given.count(one) > 1:
                raise WorkflowError(
                    f"{one.opts[0]} is given twice",
                    where=ctx.command_path,
                    remedy="keep one of them",
                )
        return super().parse_args(ctx, args)

    def _with_value(self, argument: str) -> str:
        # click would take what follows, such as the workflow, for the value that may be left out
        for one in self.params:
            if argument in one.opts and isinstance(one, click.Option) and not one.is_flag:
                alone = one.flag_value
                return f"{argument}={alone}" if isinstance(alone, str) else argument
        return argument


def leading_to(name: str, command: Callable[[], click.Command]) -> type[Strict]:
    """The class of a command that has another one below it: ``models``, and ``models pull NAME``.

    Args:
        name: of the other one, as the first argument.
        command: finds it; called when it is asked for.
    """

    class Leading(Strict):
        def make_context(
            self,
            info_name: str | None,
            args: list[str],
            parent: click.Context | None = None,
            **extra: Any,
        ) -> click.Context:
            if args[:1] == [name]:
                return command().make_context(f"{info_name} {name}", args[1:], parent, **extra)
            return super().make_context(info_name, args, parent, **extra)

    return Leading


def _note_debug(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        context.ensure_object(Settings).debug = True


def debug_option(function: _F) -> _F:
    """``--debug`` on a command."""
    return click.option(
        "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_note_debug,
        help="Show the traceback of an error.",
    )(function)  # fmt: skip


def without_option(function: _F) -> _F:
    """``--without PLUGIN`` on a command, as the argument ``without``."""
    return click.option(
        "--without", multiple=True, metavar="PLUGIN",
        help="Leave a plugin out (may be given several times).",
    )(function)  # fmt: skip


def preview_option(function: _F) -> _F:
    """``--preview[=WHERE]`` on a command."""
    return click.option(
        "--preview", is_flag=False, flag_value="auto", default="off",
        type=click.Choice(["auto", "terminal", "file", "off"]), metavar="[=WHERE]",
        help="Show the video while it grows: =terminal, =file (a webp beside the video), or what can be.",
    )(function)  # fmt: skip


def discover(without: tuple[str, ...] = (), *, warn: bool = True) -> Plugins:
    """The installed plugins, less those that the command line or the configuration leaves out.

    Args:
        without: names of plugins, from the command line.
        warn: warn of unknown names in the configuration and the environment.

    Raises:
        PluginError: ``without`` names a plugin that is not installed.
        WorkflowError: the configuration can't be read.
    """
    from wan_core.plugins import CORE, DISABLE_VARIABLE, Plugins

    disable = load_config().disable
    plugins = Plugins.discover({*disable, *without})
    names = {one.name for one in plugins.installed} - {CORE}
    for name in without:
        if name == CORE:
            raise PluginError("the core can't be left out", where="--without core")
        if name not in names:
            raise PluginError(
                f'there is no plugin "{name}" to leave out',
                where="--without",
                remedy=nearest(name, names),
            )
    if warn:
        variable = os.environ.get(DISABLE_VARIABLE, "").replace(" ", "").split(",")
        _warn_of_unknown(disable, names, f"{config_file()}, plugins.disable")
        _warn_of_unknown(filter(None, variable), names, DISABLE_VARIABLE)
    return plugins


def _warn_of_unknown(switched_off: Iterable[str], names: set[str], where: str) -> None:
    # no error: one configuration serves installations with different plugins
    for name in sorted({*switched_off} - names):
        remedy = nearest(name, names)
        hint = f"; {remedy}" if remedy.startswith("did you mean") else ""
        tell(f"warning: {where}: there is no plugin {show(name)} to leave out{hint}", sys.stderr)


def to_json(value: object) -> str:
    """One line of JSON; attrs objects, mappings and paths are turned into what JSON has."""

    def plain(found: Any) -> Any:
        if attrs.has(type(found)):
            return {field.name: getattr(found, field.name) for field in attrs.fields(type(found))}
        if isinstance(found, Mapping):
            return dict(found)
        if isinstance(found, (set, frozenset)):
            return sorted(found)
        return str(found)

    return json.dumps(value, default=plain)
