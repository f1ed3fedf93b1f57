"""A few frames of a video side by side, drawn on a terminal: kitty's images, iTerm2's, or half blocks.

A picture is lines of text with escape sequences in them, of a known number of columns, so that a live display
can erase and draw them like any other lines.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np
from PIL import Image
from rich.color import Color, ColorSystem
from rich.console import COLOR_SYSTEMS, Console, ConsoleOptions, RenderResult
from rich.segment import Segment

from wan_core.cli.live import raw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Frames = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]

MOST_ROWS = 12
FEWEST_FRAMES, MOST_FRAMES = 3, 6
LEAST_COLUMNS, LEAST_LINES = 24, 10
"""A smaller terminal has no room for pictures."""

_HALF = "▀"
_PLACEHOLDER = "\U0010eeee"
# what kitty counts rows and columns with; a row for each
_COUNTING = (
    "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f\u0346\u034a\u034b\u034c"
    "\u0350\u0351\u0352\u0357"
)
_CHUNK = 4096
# pixels of an image for each character, which is about twice as high as wide
_KITTY_CELL, _INLINE_CELL = (4, 8), (8, 16)


@attrs.frozen
class Picture:
    """Something drawn on a terminal.

    Attributes:
        columns: what it takes of the terminal's width.
        lines: text with escape sequences, one for each row.
        before: sent once before the lines are drawn for the first time.
        after: sent when it is not needed any more.
    """

    columns: int
    lines: tuple[str, ...]
    before: str = ""
    after: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield raw(line)
            yield Segment.line()


def kitty(frames: NDArray[np.uint8], console: Console) -> Picture | None:
    """An image that characters stand for, in the place of the one before; None where there is no room."""
    plan = Layout.of(frames, console)
    if plan is None:
        return None
    wide, high = _KITTY_CELL
    strip = Image.new("RGBA", (plan.columns * wide, plan.rows * high))
    for index, frame in enumerate(plan.frames(frames, _KITTY_CELL)):
        strip.paste(frame, (index * (plan.width + 1) * wide, 0))
    name = 1 + os.getpid() % 255
    head = f"a=T,U=1,q=2,f=100,i={name},c={plan.columns},r={plan.rows},"
    data = _encoded(strip, "PNG")
    parts = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    before = "".join(
        f"\x1b_G{'' if index else head}m={int(index < len(parts) - 1)};{part}\x1b\\"
        for index, part in enumerate(parts)
    )
    # the colour says which image it is, marks on the first character which row and column
    lines = tuple(
        f"\x1b[38;5;{name}m{_PLACEHOLDER}{_COUNTING[row]}{_COUNTING[0]}"
        f"{_PLACEHOLDER * (plan.columns - 1)}\x1b[39m"
        for row in range(plan.rows)
    )
    return Picture(plan.columns, lines, before, f"\x1b_Ga=d,d=I,q=2,i={name}\x1b\\")


def inline(frames: NDArray[np.uint8], console: Console) -> Picture | None:
    """Images drawn upwards from the last of empty lines; None where there is no room."""
    plan = Layout.of(frames, console)
    if plan is None:
        return None
    last = ""
    for index, frame in enumerate(plan.frames(frames, _INLINE_CELL)):
        data = _encoded(frame, "JPEG")
        up = f"\x1b[{plan.rows - 1}A" if plan.rows > 1 else ""
        right = f"\x1b[{index * (plan.width + 1)}C" if index else ""
        last += (
            f"\x1b7{up}{right}\x1b]1337;File=inline=1;width={plan.width};height={plan.rows};"
            f"preserveAspectRatio=0:{data}\x07\x1b8"
        )
    return Picture(plan.columns, ("",) * (plan.rows - 1) + (last,))


def blocks(frames: NDArray[np.uint8], console: Console) -> Picture | None:
    """Half blocks, each two pixels in two colours; None where there is no room."""
    plan = Layout.of(frames, console)
    if plan is None:
        return None
    system = COLOR_SYSTEMS[console.color_system or "standard"]
    pixels = [np.asarray(frame) for frame in plan.frames(frames, (1, 2))]
    lines = tuple(
        " ".join(_half_blocks(frame[2 * row], frame[2 * row + 1], system) for frame in pixels)
        for row in range(plan.rows)
    )
    return Picture(plan.columns, lines)


@attrs.frozen
class Layout:
    """How frames stand side by side, a column between them.

    Attributes:
        count: frames shown.
        width, rows: characters and lines of each.
    """

    count: int
    width: int
    rows: int

    @classmethod
    def of(cls, frames: NDArray[np.uint8], console: Console) -> Layout | None:
        """The layout for frames of a size on a terminal of a size; None where there is no room."""
        columns, lines = console.size
        if columns < LEAST_COLUMNS or lines < LEAST_LINES:
            return None
        wide_for_high = frames.shape[2] / frames.shape[1]
        least = min(FEWEST_FRAMES, len(frames))
        rows = min(MOST_ROWS, lines // 2)
        width = round(2 * rows * wide_for_high)
        if (room := (columns + 1) // least - 1) < width:
            width, rows = room, round(room / wide_for_high / 2)
        width, rows = max(1, width), max(1, rows)
        return cls(min(MOST_FRAMES, len(frames), (columns + 1) // (width + 1)), width, rows)

    @property
    def columns(self) -> int:
        """Of all frames together."""
        return self.count * (self.width + 1) - 1

    def frames(self, frames: NDArray[np.uint8], cell: tuple[int, int]) -> list[Image.Image]:
        """The frames shown, from first to last.

        Args:
            cell: pixels of a character.
        """
        last = len(frames) - 1
        chosen = [index * last // max(1, self.count - 1) for index in range(self.count)]
        size = self.width * cell[0], self.rows * cell[1]
        bicubic = Image.Resampling.BICUBIC
        return [Image.fromarray(frames[index]).resize(size, bicubic) for index in chosen]


def _half_blocks(upper: NDArray[np.uint8], lower: NDArray[np.uint8], system: ColorSystem) -> str:
    """A row of characters for two rows of pixels."""
    text = ""
    for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
        codes = (
            *Color.from_rgb(*above).downgrade(system).get_ansi_codes(),
            *Color.from_rgb(*below).downgrade(system).get_ansi_codes(foreground=False),
        )
        text += f"\x1b[{';'.join(codes)}m{_HALF}"
    return text + "\x1b[0m"


def _encoded(picture: Image.Image, kind: str) -> str:
    """The file of a picture in base64."""
    file = io.BytesIO()
    picture.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()
