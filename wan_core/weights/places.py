"""What messages say of a file, and the first questions to it: is it there, is it a file, what is it?

Nothing here believes a name: a file is told by its first bytes, and a path or a name with control
characters in it is shown with the characters written out.
"""

from __future__ import annotations

import codecs
import stat
from collections.abc import Mapping
from pathlib import Path

from wan_core.contract.errors import WeightsError

__all__ = [
    "exists",
    "is_folder",
    "look",
    "place",
    "printable",
    "read_span",
    "refuse_strangers",
    "shortened",
    "sort_of",
    "unreadable",
]

START_BYTES = 64

_STARTS = (
    (b"GGUF", "gguf"),
    (b"PK\x03\x04", "zip"),
    (b"\x89PNG\r\n\x1a\n", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    (b"BM", "picture"),
    (b"II*\x00", "picture"),
    (b"MM\x00*", "picture"),
    (b"\x1a\x45\xdf\xa3", "video"),
    (b"ID3", "sound"),
    (b"fLaC", "sound"),
    (b"OggS", "sound"),
    (b"%PDF", "document"),
    (b"\x1f\x8b", "archive"),
    (b"7z\xbc\xaf\x27\x1c", "archive"),
    (b"Rar!", "archive"),
    (b"BZh", "archive"),
    (b"\xfd7zXZ\x00", "archive"),
    (b"\x28\xb5\x2f\xfd", "archive"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x08\x07\x12", "onnx"),
    (b"version https://git-lfs", "lfs"),
)
_PICTURE_BRANDS = (b"avif", b"heic", b"mif1")
_CONTROL = frozenset(range(0x20)) - frozenset(b"\t\n\r\f\x1b") | {0x7F}


def printable(text: str) -> str:
    """The text with every control character, lone surrogate and line break written out."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def place(path: Path | str) -> str:
    """A path as messages may show it."""
    return printable(str(path))


def sort_of(start: bytes) -> str:
    """What a file is by its first :data:`START_BYTES` bytes.

    Returns:
        ``"gguf"``, ``"zip"``, ``"pickle"``, ``"safetensors"`` (by the look of it), ``"picture"``, ``"video"``,
        ``"sound"``, ``"web page"``, ``"lfs"``, ``"json"``, ``"text"``, ``"empty"``, or another word for
        what is no weight file; ``""`` when the bytes tell nothing.
    """
    if not start:
        return "empty"
    # a header's length, which is far below a terabyte, and the header itself
    if start[5:9] == b"\0\0\0{":
        return "safetensors"
    for first, sort in _STARTS:
        # two letters are no proof: a text may begin so
        if start.startswith(first) and (len(first) > 2 or not _is_text(start)):
            return sort
    if start[:4] == b"RIFF":
        return {b"WEBP": "picture", b"WAVE": "sound"}.get(start[8:12], "video")
    if start[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "video"
    if start[4:8] == b"ftyp":
        return "picture" if start[8:12] in _PICTURE_BRANDS else "video"
    # pickles of protocol 2 and up, which torch wrote before its zip archives
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "pickle"
    if _is_text(start):
        inside = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        return {b"<": "web page", b"{": "json"}.get(inside, "text")
    return ""


def _is_text(start: bytes) -> bool:
    try:
        # the last letter may be cut in two
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return not _CONTROL & set(start)


STRANGERS: Mapping[str, tuple[str, str]] = {
    "empty": ("the file is empty", "download it again"),
    "lfs": ("this is a Git LFS pointer, not the weights", 'run "git lfs pull"'),
    "web page": ("this is a web page, not a weight file", "download it again"),
    "json": ("this is a JSON file, not a weight file", "name the weight file itself"),
    "text": ("this is a text file, not a weight file", "name the weight file itself"),
    **{
        sort: (f"this is {title}, not a weight file", "name the weight file itself")
        for sort, title in {
            "picture": "a picture",
            "video": "a video",
            "sound": "a sound file",
            "document": "a PDF document",
        }.items()
    },
    "archive": ("this is a compressed archive, not a weight file", "unpack it first"),
    "hdf5": ("HDF5 weights are not read", "use a safetensors version of it"),
    "onnx": ("ONNX models are not read", "use a safetensors version of it"),
}
"""What is wrong with a file of a sort that holds no weights, and what to do."""


def refuse_strangers(path: Path, start: bytes) -> None:
    """Raise when the first bytes say that the file is no weight file.

    Raises:
        WeightsError: and what it is instead.
    """
    if found := STRANGERS.get(sort_of(start)):
        raise WeightsError(found[0], where=place(path), remedy=found[1])


def look(path: Path, what: str = "weight file") -> bytes:
    """The first bytes of the file at ``path``.

    Args:
        what: the file that is looked for, for the message that there is none.

    Raises:
        WeightsError: there is no such file, it is a device or a pipe, or it may not be read.
    """
    where = place(path)
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            # opening a pipe would wait for ever
            raise WeightsError(
                "this is a device or a pipe, not a file" if not stat.S_ISDIR(mode)
                else "this is a folder, not a file",
                where=where,
                remedy=f"name the {what} itself",
            )  # fmt: skip
        with path.open("rb") as file:
            return file.read(START_BYTES)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no such {what}", where=where) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise WeightsError(f"there is no such {what}", where=where) from error


def exists(path: Path) -> bool:
    """Whether there is anything at ``path``: not where nothing can be called so, or be looked at."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder at ``path``.

    Raises:
        WeightsError: nothing can be called so, or it may not be looked at.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> WeightsError:
    """The sentence for a file that the system does not let us read."""
    return WeightsError(f"cannot be read ({error.strerror or error})", where=place(path))


def read_span(path: Path, start: int, count: int) -> bytes:
    """So many bytes of a file.

    Raises:
        WeightsError: it cannot be read, or has fewer (any more).
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            found = file.read(count)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(found) < count:
        raise shortened(path)
    return found


def shortened(path: Path) -> WeightsError:
    """The sentence for a file that has lost its end since its header was read."""
    return WeightsError(
        "the file has become shorter", where=place(path), remedy="download it again"
    )
