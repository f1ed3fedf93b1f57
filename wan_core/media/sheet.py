"""Frames of videos side by side, as one picture."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

_TEXT_SIZE = 14
_LINE = 18
_MARGIN = 8
_LEAST_WIDTH = 320
_LEAST_FRAME = 24
_LONGEST_LABEL = 1000


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]], *, columns: int | None = None, gap: int = 2
) -> bytes:
    """Lay frames out in rows, left to right.

    Args:
        frames: ``[height, width, 3]`` uint8, all of one size.
        columns: frames per row; all in one row when None.
        gap: white pixels between frames.

    Returns:
        a PNG file.

    Raises:
        ValueError: there are no frames.
    """
    from PIL import Image

    if not len(frames):
        raise ValueError("a contact sheet needs at least one frame")
    columns = min(columns or len(frames), len(frames))
    rows = -(-len(frames) // columns)
    height, width = frames[0].shape[:2]
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, frame in enumerate(frames):
        row, column = divmod(index, columns)
        sheet.paste(Image.fromarray(frame), (column * (width + gap), row * (height + gap)))
    return _png(sheet)


def labelled_sheet(
    rows: Sequence[tuple[str, Sequence[NDArray[np.uint8]]]],
    *,
    height: int = 160,
    lines: int = 2,
    gap: int = 2,
    largest: int = 4000,
) -> bytes:
    """Lay rows of frames out, each below its label.

    A row's frames are scaled down, never up. Of a row that would still be too wide some frames are
    left out, evenly; rows for which there is no height are left out at the end, and counted there.

    Args:
        rows: a label, and frames ``[height, width, 3]`` uint8 of any sizes; a row may have none.
        height: of the frames, at most, in pixels.
        lines: that a label may take; longer ones end with an ellipsis. Characters that the font lacks
            are boxes, those that can't be shown question marks.
        gap: white pixels between frames.
        largest: width and height of the sheet, at most.

    Returns:
        a PNG file.

    Raises:
        ValueError: there are no rows.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        raise ValueError("a sheet needs at least one row")
    above = lines * _LINE + _MARGIN
    room = largest - above
    shown = rows[: max(1, room // (above + _LEAST_FRAME))]
    height = max(1, min(height, room // len(shown) - above))
    strips = [_strip(frames, height, gap, largest) for _, frames in shown]
    width = max(_LEAST_WIDTH, *(strip.width for strip in strips if strip))
    left = len(rows) - len(shown)
    sheet = Image.new("RGB", (min(width, largest), largest), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT_SIZE)
    top = 0
    for (label, _), strip in zip(shown, strips, strict=True):
        top += _MARGIN // 2
        for line in _wrapped(label, lines, sheet.width, font):
            draw.text((2, top), line, "black", font)
            top += _LINE
        top += _MARGIN // 2
        if strip:
            sheet.paste(strip, (0, top))
            top += strip.height
    if left:
        draw.text((2, top + _MARGIN // 2), f"… and {left} more", "black", font)
        top += _LINE + _MARGIN
    return _png(sheet.crop((0, 0, sheet.width, max(1, min(top, largest)))))


def _strip(
    frames: Sequence[NDArray[np.uint8]], height: int, gap: int, largest: int
) -> Picture | None:
    """A row of frames; None without any."""
    from PIL import Image

    most = max(1, largest // (_LEAST_FRAME + gap))
    count = min(len(frames), most)
    chosen = [frames[index * len(frames) // count] for index in range(count)]
    if not chosen:
        return None
    sizes = []
    room = (largest - gap * (count - 1)) // count
    for frame in chosen:
        scale = min(1.0, height / frame.shape[0], room / frame.shape[1])
        sizes.append((max(1, int(frame.shape[1] * scale)), max(1, int(frame.shape[0] * scale))))
    width = sum(size[0] + gap for size in sizes) - gap
    strip = Image.new("RGB", (width, max(size[1] for size in sizes)), "white")
    x = 0
    for frame, size in zip(chosen, sizes, strict=True):
        small = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC, reducing_gap=2)
        strip.paste(small, (x, 0))
        x += size[0] + gap
    return strip


def _wrapped(label: str, lines: int, width: int, font: Any) -> list[str]:
    """A label cut into lines that fit; the last one ends with an ellipsis when it goes on."""
    rest = " ".join(_visible(label[: _LONGEST_LABEL + 1]).split())
    if len(rest) > _LONGEST_LABEL:
        rest = rest[:_LONGEST_LABEL] + "…"
    found: list[str] = []
    while rest and len(found) < lines:
        last = len(found) == lines - 1
        if font.getlength(rest) <= width - 4:
            found.append(rest)
            break
        low, high = 1, len(rest)  # characters that fit, characters that don't
        end = "…" if last else ""
        while high - low > 1:
            middle = (low + high) // 2
            fits = font.getlength(rest[:middle] + end) <= width - 4
            low, high = (middle, high) if fits else (low, middle)
        if last:
            found.append(rest[:low].rstrip() + end)
            break
        cut = rest.rfind(" ", 0, low + 1)
        cut = cut if cut > 0 else low
        found.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return found


def _visible(text: str) -> str:
    """A text for the font, which has ASCII: accents go, line ends are spaces, controls question marks."""
    shown = []
    for character in text.replace("ß", "ss"):
        if character.isspace():
            character = " "
        elif unicodedata.category(character)[0] == "C":
            character = "?"
        parts = unicodedata.normalize("NFKD", character)
        plain = "".join(part for part in parts if not unicodedata.combining(part))
        shown.append(plain if plain.isascii() else character)
    return "".join(shown)


def _png(sheet: Picture) -> bytes:
    png = io.BytesIO()
    sheet.save(png, "PNG", optimize=True)
    return png.getvalue()
