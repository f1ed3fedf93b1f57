"""The live display on a terminal: a bar for each running task, finished tasks above."""

from __future__ import annotations

import sys
from contextlib import suppress
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wan_core.cli.board import Board
from wan_core.cli.views import View, note_text
from wan_core.contract.events import Event, Note, RunFailed, RunFinished

BAR_WIDTH = 24


class LiveView(View):
    """Draws the running tasks ten times a second; every finished task leaves one line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._board = Board()
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=10,
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
        self._board.clear()
        with suppress(OSError):  # the terminal may be gone
            self._live.stop()

    def __call__(self, event: Event) -> None:
        finished = self._board.update(event)
        if finished:
            self._line(Text.assemble(("✓ ", "green"), finished))
        elif isinstance(event, Note):
            self._line(Text(note_text(event), style="dim" if event.level == "info" else "yellow"))
        elif isinstance(event, (RunFinished, RunFailed)):
            self._board.clear()

    def _line(self, text: str | Text) -> None:
        with suppress(OSError):
            self._console.print(text)

    def _draw(self) -> Table:
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
