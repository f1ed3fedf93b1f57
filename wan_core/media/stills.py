"""Pictures to start from: of any usual format and mode, upright, without transparency, as RGB.

What a file is is told by its first bytes, and only that one decoder of Pillow is tried: none that runs programs
or opens other files. Sizes are checked before pixels take memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import attrs
import numpy as np
from PIL import Image, ImageOps

from wan_core.contract.errors import MediaError
from wan_core.media.formats import MAX_PIXELS
from wan_core.media.pictures import check_pixels, png_size, rgb
from wan_core.media.webp import webp_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SIDE = 2**14
"""The longest side of a picture that is read, in pixels."""

_READ = "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM"
_STARTS: Mapping[bytes, str] = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    **{f"P{number}".encode(): "PPM" for number in range(1, 7)},
}
_BRANDS: Mapping[bytes, str] = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIC"),
}
_OTHERS: Mapping[bytes, str] = {
    b"\x1a\x45\xdf\xa3": "a video",
    b"FLV": "a video",
    b"\0\0\x01\xba": "a video",
    b"%PDF": "a PDF document",
    b"<svg": "an SVG drawing",
    b"<?xml": "an SVG drawing or another XML file",
    b"8BPS": "a Photoshop file",
    b"%!PS": "a PostScript file",
    b"PK\x03\x04": "an archive",
}  # fmt: skip
_MANY = {"GIF", "WEBP", "PNG", "AVIF", "TIFF"}
_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 0x0100, 0x0101
_TURNS = frozenset(range(2, 9))
_SIDEWAYS = frozenset(range(5, 9))
# colours that can't be told without more knowledge than the file gives
_UNREAD_MODES: Mapping[str, str] = {"F": "numbers without bounds", "LAB": "Lab colours"}

Channel = Literal["brightness", "alpha"]


@attrs.frozen
class StillInfo:
    """What a picture's file says of itself.

    Attributes:
        width, height: in pixels, as the picture is seen upright.
        kind: its format.
        notes: what reading it leaves out or changes, for the user.
    """

    width: int
    height: int
    kind: str
    notes: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class Still:
    """A picture that has been read.

    Attributes:
        pixels: ``[height, width, 3]`` uint8.
        notes: what was left out or changed, for the user.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def probe_still(path: Path | str) -> StillInfo:
    """What a picture's file says of itself; no pixel is decoded.

    Raises:
        MediaError: it is not there, no picture, of a kind that is not read, or too large.
    """
    with _opened(Path(path)) as (picture, kind):
        orientation = _orientation(picture)
        width, height = picture.size
        tags = getattr(picture, "tag_v2", None)
        if tags:
            # some versions of Pillow have turned the size of a TIFF picture already
            width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
        if orientation in _SIDEWAYS:
            width, height = height, width
        return StillInfo(width, height, kind, _notes(picture, kind, orientation))


def read_still(
    path: Path | str, background: tuple[int, int, int] | None = (255, 255, 255)
) -> Still:
    """Read a picture as 8-bit RGB.

    It is turned as its Exif data say; of an animation it is the first frame; 16 bits become 8; what is
    transparent shows ``background``. Colour profiles are not applied.

    Args:
        background: red, green, blue; None leaves the transparency out and shows the colours that lie under
            it, as Wan's own scripts do.

    Raises:
        MediaError: as for :func:`probe_still`, or it is damaged.
    """
    with _opened(Path(path)) as (picture, kind):
        notes = _notes(picture, kind, _orientation(picture))
        upright = _upright(picture)
        if not upright.has_transparency_data or background is None:
            return Still(rgb(upright), notes)
        layered = upright.convert("RGBA")
        # alpha of 16-bit formats has become 8-bit by now
        if layered.getchannel("A").getextrema() == (255, 255):
            return Still(np.array(layered.convert("RGB")), notes)
        canvas = Image.new("RGBA", layered.size, (*background, 255))
        flat = Image.alpha_composite(canvas, layered).convert("RGB")
        note = f"transparent parts of the picture are shown on {_colour(background)}"
        return Still(np.array(flat), (*notes, note))


def read_levels(path: Path | str, channel: Channel = "brightness") -> NDArray[np.float32]:
    """Read a picture as a mask: ``[height, width]`` in 0…1, upright; 16 bits count in full.

    Args:
        channel: brightness (transparency left out), or opacity.

    Raises:
        MediaError: as for :func:`read_still`, or there is no transparency to read.
    """
    with _opened(Path(path)) as (picture, _):
        upright = _upright(picture)
        if channel == "alpha":
            if not upright.has_transparency_data:
                raise MediaError(
                    "this picture has no transparency that could be a mask",
                    where=str(path),
                    remedy="use its brightness, or a picture with transparency",
                )
            upright = upright.convert("RGBA").getchannel("A")
        elif upright.mode.startswith("I"):
            levels: NDArray[np.float32] = np.asarray(upright).astype(np.float32) / np.float32(65535)
            return levels.clip(0, 1)
        elif upright.mode != "L":
            upright = Image.fromarray(rgb(upright)).convert("L")
        return np.asarray(upright).astype(np.float32) / np.float32(255)


def is_still(path: Path | str) -> bool:
    """Whether a file is a picture, be it damaged, and no animation; missing files are none."""
    path, kind = Path(path), ""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            kind = _kind(file, str(path))
        if kind not in _MANY:
            return True
        with _opened(path) as (picture, _):
            return not getattr(picture, "is_animated", False)
    except (OSError, MediaError):
        return kind in ("PNG", "TIFF")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, str]]:
    """The opened picture, its header read, and the name of its format."""
    where = str(path)
    try:
        if not path.is_file():
            _refuse_place(path, where)
        file = path.open("rb")
    except OSError as error:
        raise MediaError(f"can't be read ({error.strerror})", where=where) from error
    with file, warnings.catch_warnings():
        # of large pictures and odd metadata, to the terminal
        warnings.simplefilter("ignore")
        kind = _kind(file, where)
        try:
            if kind == "PNG":
                png_size(file, where)
            elif kind == "WEBP":
                check_pixels(*webp_size(file, where), where)
            with Image.open(file, formats=[kind]) as picture:
                _check_size(picture, where)
                yield picture, kind
        except MediaError:
            raise
        except Image.DecompressionBombError as error:
            raise _too_large("this picture is", where) from error
        except MemoryError as error:
            raise MediaError("there is no memory for this picture", where=where) from error
        # decoders raise whatever broken data make them stumble over
        except Exception as error:
            raise MediaError(
                "this picture is damaged or cut short", where=where, remedy="save it again"
            ) from error


def _refuse_place(path: Path, where: str) -> None:
    if path.is_dir():
        raise MediaError("this is a folder, not a picture", where=where, remedy="name a file in it")
    if path.exists():
        raise MediaError("this is a device or a pipe, not a picture", where=where)
    raise MediaError("there is no such file", where=where, remedy="check the path")


def _kind(file: BinaryIO, where: str) -> str:
    """Pillow's name of the format that the first bytes show; the file is at its start again."""
    start = file.read(64)
    file.seek(0)
    if not start:
        raise MediaError("this file is empty", where=where)
    for mark, kind in _STARTS.items():
        if start.startswith(mark):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    other = ""
    if start[4:8] == b"ftyp":
        kind = _BRANDS.get(start[8:12], "")
        if kind == "AVIF":
            return kind
        other = "a HEIC picture, which is not read" if kind else "a video"
    elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        other = "a video"
    else:
        text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
        other = next((o for mark, o in _OTHERS.items() if text.startswith(mark)), "")
    if other:
        said = other if "picture" in other else f"{other}, not a picture"
        raise MediaError(f"this is {said}", where=where, remedy="save it as PNG or JPEG")
    raise MediaError("this is no picture that can be read", where=where, remedy=f"use {_READ}")


def _check_size(picture: Image.Image, where: str) -> None:
    check_pixels(picture.width, picture.height, where)
    if max(picture.size) > MAX_SIDE:
        raise _too_large(f"pictures of {picture.width}x{picture.height} are", where)
    if picture.mode in _UNREAD_MODES:
        raise MediaError(
            f"this picture holds {_UNREAD_MODES[picture.mode]}, which are not read",
            where=where,
            remedy="save it as RGB with 8 or 16 bits",
        )


def _too_large(subject: str, where: str) -> MediaError:
    return MediaError(
        f"{subject} too large to be read (at most {MAX_SIDE} pixels a side, {MAX_PIXELS} in all)",
        where=where,
        remedy="make a smaller copy",
    )


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken Exif data are none
        return 1


def _upright(picture: Image.Image) -> Image.Image:
    picture.load()
    turned = None
    if _orientation(picture) in _TURNS:
        turned = ImageOps.exif_transpose(picture)
    return turned or picture


def _notes(picture: Image.Image, kind: str, orientation: int) -> tuple[str, ...]:
    notes = []
    # a photo may carry a second one that is a preview or the other eye's
    if kind in _MANY and getattr(picture, "is_animated", False):
        notes.append("the picture is the first of several in its file")
    if orientation in _TURNS:
        notes.append("the picture is turned as its Exif data say")
    if picture.mode.startswith("I"):
        notes.append("the picture's 16 bits become 8")
    return tuple(notes)


def _colour(background: tuple[int, int, int]) -> str:
    names = {(255, 255, 255): "white", (0, 0, 0): "black"}
    return names.get(background, "#" + bytes(background).hex())
