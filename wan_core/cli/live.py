"""The live display on a terminal: a bar for each running task, finished tasks above, a preview if wanted."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from wan_core.cli.board import Board
from wan_core.cli.views import View, note_text, recovery_text
from wan_core.contract.events import Event, Note, Preview, Recovered, RunFailed, RunFinished

if TYPE_CHECKING:
    from wan_core.cli.pictures import Picture
    from wan_core.cli.terminals import Draw

BAR_WIDTH = 24
OFTEN, WITH_PICTURES = 10, 4
"""Drawings a second; a picture is sent with each of them, and the terminal may be far away."""


class LiveView(View):
    """Draws the running tasks again and again; every finished task leaves one line.

    Args:
        draw: what draws previews, above the tasks; None = nothing does.
    """

    def __init__(self, stream: TextIO, draw: Draw | None = None) -> None:
        super().__init__(stream)
        self._draw_picture = draw
        self._picture: Picture | None = None
        self._board = Board()
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=WITH_PICTURES if draw else OFTEN,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clear()
        with suppress(OSError):  # the terminal may be gone
            self._live.stop()

    def __call__(self, event: Event) -> None:
        finished = self._board.update(event)
        if finished:
            self._line(Text.assemble(("✓ ", "green"), finished))
        elif isinstance(event, Note):
            self._line(Text(note_text(event), style="dim" if event.level == "info" else "yellow"))
        elif isinstance(event, Recovered):
            self._line(Text(recovery_text(event), style="yellow"))
        elif isinstance(event, Preview) and self._draw_picture:
            self._show(self._draw_picture(event.frames, self._console))
        elif isinstance(event, (RunFinished, RunFailed)):
            self._clear()

    def _line(self, text: str | Text) -> None:
        with suppress(OSError):
            self._console.print(text)

    def _clear(self) -> None:
        self._board.clear()
        self._show(None)

    def _show(self, picture: Picture | None) -> None:
        """Put a picture, or none, in the place of the one before."""
        before, self._picture = self._picture, picture
        if picture:
            self._send(picture.before)
        elif before:
            self._send(before.after)

    def _send(self, text: str) -> None:
        """Escape sequences, between two drawings."""
        if text:
            control = Control()
            control.segment = raw(text)
            with suppress(OSError):
                self._console.control(control)

    def _draw(self) -> Table | Group:
        table = self._tasks()
        picture = self._picture
        # the terminal may have become narrower, and lines that it wraps can't be erased
        if picture is None or picture.columns > self._console.width:
            return table
        return Group(picture, table)

    def _tasks(self) -> Table:
        now = self._board.clock()
        table = Table.grid(padding=(0, 1))
        table.add_column(width=BAR_WIDTH)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for task in self._board.running:
            bar = ProgressBar(
                total=task.total,
                completed=task.done,
                width=BAR_WIDTH,
                pulse=task.total is None,
                animation_time=now,
            )
            table.add_row(bar, task.sentence(now))
        if whole := self._board.whole_run():
            table.add_row("", Text(whole, style="dim"))
        return table


def raw(text: str) -> Segment:
    """Text for the terminal as it is: rich neither measures nor changes it."""
    return Segment(text, None, [(ControlType.HOME,)])
