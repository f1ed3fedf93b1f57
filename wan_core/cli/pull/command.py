"""The command ``wan-core models pull``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from wan_core.cli.failures import tell
from wan_core.cli.options import Strict, debug_option, discover, without_option
from wan_core.cli.text import columns
from wan_core.cli.views import choose_view
from wan_core.config import cache_folder, config_file, huggingface_folder
from wan_core.contract.descriptions import Family, PublishedFile
from wan_core.contract.errors import Cancelled, WorkflowError
from wan_core.contract.events import Listener
from wan_core.contract.options import show, unprintable
from wan_core.memory import gigabytes
from wan_core.planning.library import Library, configured
from wan_core.plugins import brief

if TYPE_CHECKING:
    from wan_core.cli.pull.pins import Pins
    from wan_core.cli.pull.stores import Store
    from wan_core.cli.pull.wanted import Wanted

Row: TypeAlias = tuple[str, str, str]


@click.command(cls=Strict)
@click.argument("name")
@click.option(
    "--to", metavar="FOLDER",
    help="Put the files here, as FOLDER/REPOSITORY/path, instead of the Hub's cache.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show what would be fetched; fetch nothing.")
@click.option("--verify", is_flag=True, help="Sum the files that are here, too.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@without_option
@debug_option
def pull(
    name: str, to: str | None, dry_run: bool, verify: bool, quiet: bool, without: tuple[str, ...]
) -> None:
    """Fetch the published files of a family that are not here.

    \b
    wan-core models pull wan2.1-t2v-1.3b
    wan-core models pull wan2.1-t2v-1.3b --to /data/models

    They come from the Hugging Face Hub ($HF_ENDPOINT names a mirror), each of the very commit that is
    meant, and are checked by their SHA-256. A pull that was interrupted goes on where it stopped.
    """
    family = discover(without).family(name)
    _import_library()
    searched, store = configured(), _store(to)
    with choose_view(json=False, quiet=quiet) as view:
        lines = _pull(family, searched, store, dry_run, verify, view)
    if not quiet:
        tell("\n".join([*lines, *_to_be_named(store.root, searched)]), sys.stdout)


def _store(to: str | None) -> Store:
    from wan_core.cli.pull.stores import Folder, HubCache

    if to is None:
        return HubCache(huggingface_folder())
    problem = "must not be empty" if not to else unprintable(to)
    try:
        folder = Path(to).expanduser().absolute()
        if not problem and folder.exists() and not folder.is_dir():
            problem = f"{show(folder)} is no folder"
    except RuntimeError:
        problem = f"{show(to)} names a home folder that does not exist"
    except OSError as error:
        problem = f"{show(to)} can't be one ({error.strerror})"
    if problem:
        raise WorkflowError(f"the folder {problem}", where="--to")
    # of a folder with a whole ComfyUI, its models are meant here, too
    return Folder(Library([folder]).folders[0])


def _pull(
    family: Family,
    searched: Library,
    store: Store,
    dry_run: bool,
    verify: bool,
    emit: Listener,
) -> list[str]:
    """Do it, and say what was done."""
    from wan_core.cli.pull.pins import Pins
    from wan_core.cli.pull.wanted import wanted

    pins = Pins(cache_folder())
    library = Library((store.root, *searched.folders))
    files = wanted(family, library, store, pins)
    if not files:
        return [f"{family.name} has no published files to fetch"]
    rows = [_row(one, str(one.here)) for one in files if one.here]
    if verify:
        rows = _verified(files, emit)
    missing = [one for one in files if one.here is None]
    if missing:
        rows += _fetched(missing, store, pins, dry_run, emit)
        library.look_again()
    lines = columns(rows)
    if not (dry_run and missing):
        lines += ["", f'All is here: in a workflow, family = "{family.name}" is enough.']
    return lines


def _verified(files: Sequence[Wanted], emit: Listener) -> list[Row]:
    from wan_core.cli.pull.fetch import verify

    rows = []
    for one in files:
        if one.here:
            good = verify(one.here, one.file, emit)
            rows.append(_row(one, f"{one.here} ({'checked' if good else 'no sum is known'})"))
    return rows


def _fetched(
    missing: Sequence[Wanted], store: Store, pins: Pins, dry_run: bool, emit: Listener
) -> list[Row]:
    """Fetch what is missing; for a dry run only say what that would be."""
    from wan_core.cli.pull.fetch import check_room, fetch, look_up
    from wan_core.cli.pull.hub import Hub

    hub = Hub()
    found = [
        (one, remote) for one in missing for remote in look_up(one.file, hub, pins, ask=not dry_run)
    ]
    size = check_room([remote for _, remote in found], store)
    if dry_run:
        rows = [
            _row(one, f"{gigabytes(remote.bytes)} to {store.place(remote.file)}", remote.file)
            for one, remote in found
        ]
        return [*rows, ("", "in all", f"{gigabytes(size)} to fetch from {hub.endpoint}")]
    try:
        return [
            _row(one, f"{fetch(remote, one.file, hub, store, pins, emit)} (fetched)", remote.file)
            for one, remote in found
        ]
    except KeyboardInterrupt:
        raise Cancelled(
            "stopped", remedy="what has arrived is kept, and the same command goes on from there"
        ) from None


def _import_library() -> None:
    """Import the Hub's library, which reads its variables as it is imported.

    Raises:
        WorkflowError: it stumbles over one of them.
    """
    try:
        with redirect_stdout(StringIO()):  # it prints the error, too
            import wan_core.cli.pull.hub  # noqa: F401
    except ValueError as error:
        raise WorkflowError(
            f"a variable of the Hub's library is wrong ({brief(error)})",
            remedy="check the variables that begin with HF_",
        ) from error


def _row(one: Wanted, what: str, file: PublishedFile | None = None) -> Row:
    return (one.slot, (file or one.file).path, what)


def _to_be_named(folder: Path, searched: Library) -> list[str]:
    """What to write into the configuration, where a folder is not searched yet."""
    if any(folder.is_relative_to(one) for one in searched.folders):
        return []
    line = "huggingface = true" if folder == huggingface_folder() else f"models = [{show(folder)}]"
    return ["", f"To have it found, write into {config_file()}:", "  [paths]", f"  {line}"]
