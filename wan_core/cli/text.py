"""How the command line writes durations, paths and columns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from wan_core.contract.text import duration as duration


def about(seconds: float) -> str:
    """``"a few seconds"``, ``"about 40 s"``, ``"about 2 min"``, ``"about 1 h 10 min"``: an estimate."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 55:
        return f"about {round(seconds / 10) * 10 or 10} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60 // 10 * 10:02d} min"


def counted(done: int, total: int | None, unit: str) -> str:
    """``"12/30 steps"``, ``"81 frames"``, ``"1 frame"``; units such as MB have no plural."""
    number = str(done) if total is None else f"{done}/{total}"
    many = (done if total is None else total) != 1 and unit.islower()
    return f"{number} {unit}{'s' if many else ''}".rstrip()


def short_path(path: Path | str) -> str:
    """The path as seen from this folder when it is inside it, else in full."""
    path = Path(path)
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def titled(title: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Rows of which only the first has the title."""
    return [(title if index == 0 else "", line) for index, line in enumerate(lines)]


def columns(rows: Sequence[Sequence[str]], *, indent: int = 0) -> list[str]:
    """Lines with the cells of ``rows`` one under the other.

    On a terminal the last column is wrapped at the edge; elsewhere a row stays one line, for grep.
    """
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    start = indent + sum(width + 2 for width in widths)
    room = shutil.get_terminal_size().columns - start if sys.stdout.isatty() else 0
    lines = []
    for *cells, last in rows:
        head = " " * indent + "".join(f"{c:<{w}}  " for c, w in zip(cells, widths, strict=True))
        parts = _wrapped(last, room) if 20 < room < 2 * len(last) else [last]
        for part in parts:
            lines.append((head + part).rstrip())
            head = " " * start
    return lines


def _wrapped(text: str, room: int) -> list[str]:
    # rich knows that a Chinese character takes two cells
    from rich.console import Console
    from rich.text import Text

    return [line.plain.rstrip() for line in Text(text).wrap(Console(), room)]
