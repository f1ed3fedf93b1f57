"""Single pictures, decoded by Pillow, whose limits are checked before it takes memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.media.formats import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PNG = struct.Struct(">8sI4sII")
_PNG_START = (b"\x89PNG\r\n\x1a\n", 13, b"IHDR")


@contextmanager
def opened_picture(file: BinaryIO, kind: str, where: str) -> Iterator[Image.Image]:
    """Open a picture of a known kind; whatever Pillow finds wrong is one sentence.

    Args:
        kind: Pillow's name of the format; no other is tried.
        where: for the error.

    Raises:
        MediaError: it is damaged.
    """
    try:
        with Image.open(file, formats=[kind]) as picture:
            yield picture
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise MediaError("this picture is damaged", where=where) from error


def png_size(file: BinaryIO, where: str) -> tuple[int, int]:
    """Width and height of a PNG file, which is then at its start again.

    Raises:
        MediaError: it is none, or a too large one.
    """
    start = file.read(_PNG.size)
    file.seek(0)
    if len(start) < _PNG.size or (fields := _PNG.unpack(start))[:3] != _PNG_START:
        raise MediaError("this is no PNG picture", where=where)
    check_pixels(fields[3], fields[4], where)
    return fields[3], fields[4]


def check_pixels(width: int, height: int, where: str) -> None:
    """Refuse a picture that would take too much memory.

    Raises:
        MediaError: it has more than :data:`~wan_core.media.formats.MAX_PIXELS` pixels, or none.
    """
    if width < 1 or height < 1:
        raise MediaError(f"a size of {width}x{height} is impossible", where=where)
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"pictures of {width}x{height} are too large to be read (at most {MAX_PIXELS} pixels)",
            where=where,
        )


def rgb(picture: Image.Image) -> NDArray[np.uint8]:
    """A picture as ``[height, width, 3]`` uint8; 16-bit grey keeps its upper half."""
    if picture.mode.startswith("I"):
        grey: Any = np.asarray(picture).astype(np.int64) >> 8
        return np.repeat(grey.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")  # Pillow warns of the short way
    return np.array(picture.convert("RGB"))
