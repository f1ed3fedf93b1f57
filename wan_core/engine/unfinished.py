"""Runs that did not finish: what their folders say of them, believed in nothing. Imports no torch."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import attrs
from filelock import FileLock, Timeout

from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.engine.safely import as_line, as_list, as_text, read_json, write_whole
from wan_core.weights.safetensors_header import read_header

FORMAT = 1
CARD = "run.json"
LOCK = "lock"
LARGEST_CARD = 2**22
RUN = re.compile(r"\d{8}-\d{6}-\w+", re.ASCII)
STATE = re.compile(r"(?P<stage>[^.]+)\.(?P<call>\d{1,6})-[01]\.safetensors")
KEPT = re.compile(r"(?P<stage>[^.]+)\.safetensors")


@attrs.frozen
class Card:
    """What a run says of itself in its folder.

    Attributes:
        workflow: name of the workflow's file.
        folder: where it lies.
        label: of a sweep, which run this is.
        arguments: of ``wan-core run``, with full paths; empty when something else has run the workflow.
        plan: the plan's hash.
        facts: what it is made of (:mod:`wan_core.engine.identity`).
        outputs: of a run of a sweep that is over while the sweep is not, the files that it has written.
    """

    workflow: str
    folder: str
    label: str
    arguments: tuple[str, ...]
    plan: str
    facts: Mapping[str, str]
    outputs: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command that goes on with the run; empty when nothing is known of one."""
        if not self.arguments:
            return ""
        return f"wan-core run {shlex.join(map(_as_typed, self.arguments))} --resume"

    def write(self, folder: Path) -> None:
        """Write the card.

        Raises:
            OSError: that is not possible.
        """
        text = json.dumps({"format": FORMAT, **attrs.asdict(self)})
        write_whole(folder / CARD, lambda partial: partial.write_text(text, encoding="utf-8"))


@attrs.frozen
class Unfinished:
    """A run that did not finish.

    Attributes:
        path: its folder.
        card: what it says of itself.
    """

    path: Path
    card: Card

    @property
    def name(self) -> str:
        """What lists and commands call it."""
        return self.path.name

    def kept(self) -> tuple[str, ...]:
        """Names of the stages whose results are kept."""
        return tuple(sorted(m["stage"] for m in self._matches(KEPT)))

    def progress(self) -> str:
        """How far it came, in words."""
        if kept := self.kept():
            return f"{' and '.join(kept)} sampled"
        newest = (0, "nothing sampled yet")
        for match in self._matches(STATE):
            with suppress(WeightsError, ValueError, KeyError):
                told = read_header(self.path / match[0]).metadata
                step, steps = int(told["step"]), int(told["steps"])
                place = int(match["call"]) * 10**6 + step
                newest = max(newest, (place, f"{match['stage']}: step {step} of {steps}"))
        return newest[1]

    @property
    def bytes(self) -> int:
        """Of all of its files."""
        total = 0
        with suppress(OSError):
            for one in self.path.iterdir():
                total += one.lstat().st_size
        return total

    def _matches(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        with suppress(OSError):
            for one in self.path.iterdir():
                if (match := pattern.fullmatch(one.name)) and is_own(one):
                    yield match


@attrs.frozen(eq=False)
class Taken:
    """An unfinished run that nobody else can take any more."""

    run: Unfinished
    lock: FileLock


def take(run: Unfinished) -> Taken | None:
    """Lock a run; None when it is going on, or gone."""
    lock = locked(run.path)
    if lock is None:
        return None
    if read_card(run.path) is None:
        lock.release()
        return None
    return Taken(run, lock)


def still_going_on(run: Unfinished) -> ResourceError:
    """The error of who wants a run that another process is at."""
    return ResourceError(
        f"{run.name} is still going on, in another process", remedy="wait for it, or stop it"
    )


def is_free(folder: Path) -> bool:
    """Whether no process is at the run in a folder."""
    lock = locked(folder)
    if lock is not None:
        lock.release()
    return lock is not None


def locked(folder: Path) -> FileLock | None:
    """The lock of a run's folder, which the system opens when its process ends however; None when taken.

    Where the file system knows no locks nobody can be kept out, and nobody is.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    except (OSError, NotImplementedError):
        pass
    return lock


def unfinished(cache: Path) -> list[Unfinished]:
    """The runs that did not finish, newest first, those that are still going on included."""
    folder = cache / "runs"
    try:
        paths = sorted(folder.iterdir(), reverse=True)
    except OSError:
        return []
    ours = [path for path in paths if RUN.fullmatch(path.name) and not path.is_symlink()]
    cards = [(path, read_card(path)) for path in ours]
    return [Unfinished(path, card) for path, card in cards if card]


def read_card(folder: Path) -> Card | None:
    """The card in a run's folder; None when there is none that could be of this program."""
    if not is_own(folder / CARD):
        return None
    try:
        fields = read_json(folder / CARD, LARGEST_CARD)
        if fields["format"] != FORMAT:
            return None
        facts = {as_text(k): as_text(v) for k, v in fields["facts"].items()}
        return Card(
            workflow=as_line(fields["workflow"]),
            folder=as_line(fields["folder"]),
            label=as_line(fields["label"]),
            arguments=_lines(fields["arguments"]),
            plan=as_line(fields["plan"]),
            facts=facts,
            outputs=_lines(fields["outputs"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def is_own(path: Path) -> bool:
    """Whether a file in a run's folder can be one that wan-core wrote: no link, no pipe that is waited for."""
    return path.is_file() and not path.is_symlink()


def _lines(value: object) -> tuple[str, ...]:
    return tuple(map(as_line, as_list(value)))


def _as_typed(argument: str) -> str:
    """A path in the current folder as one would type it here."""
    here = f"{Path.cwd()}{os.sep}"
    return argument.removeprefix(here) or argument
