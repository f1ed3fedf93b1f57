"""What a person or a program sees of a run: a live display, plain lines, JSON lines, or nothing.

A view is a listener of events and a context manager around the whole run. When its lines can't be
written any more (a closed pipe, a full disk), it falls silent and the run goes on: hours of work are
worth more than its lines.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from wan_core.cli.board import Board
from wan_core.cli.failures import explain, tell
from wan_core.cli.options import to_json
from wan_core.cli.terminals import is_lively
from wan_core.contract.events import Event, Note, Recovered, RunFailed, to_dict

if TYPE_CHECKING:
    from wan_core.cli.terminals import Draw


class View:
    """Base of the views: lines on a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._silent = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def __call__(self, event: Event) -> None:
        raise AssertionError("each view shows events in its own way")

    def _line(self, text: str) -> None:
        if not self._silent:
            self._silent = not tell(text, self._stream)


def choose_view(*, json: bool, quiet: bool, draw: Draw | None = None) -> View:
    """The view for these options and this terminal.

    Args:
        draw: what draws previews on the terminal; None = nothing does.
    """
    if json:
        return JsonLines(sys.stdout)
    if quiet:
        return WarningsOnly(sys.stderr)
    if is_lively(sys.stderr):
        from wan_core.cli.live import LiveView

        return LiveView(sys.stderr, draw)
    return PlainLines(sys.stderr)


class WarningsOnly(View):
    """``--quiet``: only what the user must know."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note) and event.level != "info":
            self._line(note_text(event))
        elif isinstance(event, Recovered) and not event.exact:
            self._line(recovery_text(event))


class PlainLines(View):
    """One line for each finished task and each note; for logs."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._board = Board()

    def __call__(self, event: Event) -> None:
        finished = self._board.update(event)
        if finished:
            whole = self._board.whole_run() if self._board.is_long else None
            self._line(f"{finished}; {whole}" if whole else finished)
        elif isinstance(event, Note):
            self._line(note_text(event))
        elif isinstance(event, Recovered):
            self._line(recovery_text(event))


class JsonLines(View):
    """``--json``: one event per line and nothing else; what plugins print goes to stderr.

    The last line is RunFinished or RunFailed, also when the workflow can't even be read.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._failure_told = False
        self._redirection = redirect_stdout(sys.stderr)

    def __enter__(self) -> Self:
        self._redirection.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._redirection.__exit__(kind, error, traceback)
        if error is not None and not self._failure_told:
            self(RunFailed(*explain(error)))

    def __call__(self, event: Event) -> None:
        # a run of a sweep that failed was not the last word
        self._failure_told = isinstance(event, RunFailed)
        self._line(to_json(to_dict(event)))


def recovery_text(event: Recovered) -> str:
    """``"recovered: generate / sampling: out of memory; …"``."""
    return f"recovered: {event}"


def note_text(note: Note) -> str:
    """``"note: …"`` or ``"warning: …"``."""
    return f"{'note' if note.level == 'info' else note.level}: {note.text}"
