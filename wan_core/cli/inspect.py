"""``wan-core inspect``: what a file is, said from its header alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from wan_core.cli.failures import explain, tell_sentence, tell_traceback
from wan_core.cli.options import Settings, Strict, debug_option, discover, to_json, without_option
from wan_core.cli.text import columns
from wan_core.contract.errors import WeightsError
from wan_core.weights.places import is_folder, look, place, refuse_strangers, sort_of

if TYPE_CHECKING:
    from wan_core.plugins import Plugins

MEDIA = ("picture", "video", "sound")
ADDRESSES = ("https://", "http://", "hf://", "file://")
MAX_WORKFLOW_BYTES = 2**20


@attrs.frozen
class Found:
    """What is said of one file.

    Attributes:
        kind: ``"weights"``, ``"workflow"`` or ``"media"``.
        rows: for people: what, and the answer; several lines for one question repeat an empty one.
        facts: for programs.
    """

    kind: str
    rows: list[tuple[str, str]]
    facts: dict[str, Any]


@click.command(cls=Strict)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--fingerprint", is_flag=True, help="Read a little of the weights and show their fingerprint."
)
@without_option
@click.option("--json", is_flag=True, help="Print one JSON object.")
@debug_option
@click.pass_context
def inspect(
    context: click.Context,
    files: tuple[str, ...],
    fingerprint: bool,
    without: tuple[str, ...],
    json: bool,
) -> int:
    """Say what weight files (or folders of them), workflows, videos and pictures are.

    Of weights only the header is read: the model, whose names the tensors have, how the numbers are stored, and
    the slots of installed families that the file fits. A file that can't be read doesn't keep the others from
    being shown; the exit code is then that of the first failure.
    """
    plugins = discover(without)
    debug = context.ensure_object(Settings).debug
    exit_code = 0
    answers: list[dict[str, Any]] = []
    for name in files:
        try:
            found = _found(_path(name), plugins, fingerprint)
        except Exception as error:
            sentence, code = explain(error)
            exit_code = exit_code or code
            answers.append({"path": name, "error": sentence, "exit_code": code})
            if debug:
                tell_traceback(error)
            if not json:
                tell_sentence(sentence)
            continue
        answers.append({"path": name, "kind": found.kind, **found.facts})
        if not json:
            click.echo("\n".join([place(name), *columns(found.rows, indent=2), ""]))
    if json:
        click.echo(to_json({"files": answers}))
    return exit_code


def _path(name: str) -> Path:
    """What is asked for, as a path.

    Raises:
        WeightsError: it can't be one.
    """
    if not name:  # which a path takes for the current folder
        raise WeightsError("the name of a file is empty", remedy="name the file itself")
    if name.startswith(ADDRESSES):
        raise WeightsError("this is an address, not a file", where=name, remedy="download it first")
    return Path(name)


def _found(path: Path, plugins: Plugins, fingerprint: bool) -> Found:
    sort = "" if is_folder(path) else _sort(path)
    if sort == "workflow":
        from wan_core.cli.inspect_workflow import describe_workflow

        return describe_workflow(path, plugins)
    if sort in MEDIA:
        from wan_core.cli.inspect_media import describe_media

        return describe_media(path)
    from wan_core.cli.inspect_weights import describe_weights

    return describe_weights(path, plugins, fingerprint)


def _sort(path: Path) -> str:
    """What to do with a file, by its first bytes; of texts by more of them."""
    start = look(path, "file")
    sort = sort_of(start)
    if sort == "json" and path.name.endswith(".index.json"):
        return "weights"
    if sort in ("text", "empty") and path.suffix == ".toml":
        return "workflow"
    if sort == "text" and _looks_like_a_workflow(path):
        return "workflow"
    if sort not in MEDIA:
        refuse_strangers(path, start)
    return sort


def _looks_like_a_workflow(path: Path) -> bool:
    import tomllib

    try:
        with path.open("rb") as file:
            table = tomllib.loads(file.read(MAX_WORKFLOW_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return False
    return "stages" in table or "format" in table
