"""A text in Exif data, as the user's comment.

Exif is a TIFF file: tables ("folders") of entries, each a tag, a type, a count, and the value or where
it is. The comment is in a folder that an entry of the first one leads to.
"""

from __future__ import annotations

import struct

from wan_core.media.formats import MAX_COMMENT

_FOLDER = 0x8769
_COMMENT = 0x9286
_LONG, _UNDEFINED = 4, 7
_UNICODE = b"UNICODE\0"


def with_comment(text: str) -> bytes:
    """Exif data that holds a comment, in UTF-16 as the standard has it."""
    value = _UNICODE + text.encode("utf-16-be")
    entry = struct.Struct(">HHHIII")  # a folder of one entry, and that no other follows
    first = entry.pack(1, _FOLDER, _LONG, 1, 8 + entry.size, 0)
    second = entry.pack(1, _COMMENT, _UNDEFINED, len(value), 8 + 2 * entry.size, 0)
    return b"MM\0*" + struct.pack(">I", 8) + first + second + value


def comment_in(data: bytes) -> str | None:
    """The comment in Exif data; None where there is none, or none that can be read."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"MM\0*": ">", b"II*\0": "<"}.get(data[:4])
    if order is None:
        return None
    try:
        start = struct.unpack_from(order + "I", data, 4)[0]
        _, folder = _entry(data, order, start, _FOLDER)
        count, place = _entry(data, order, folder, _COMMENT)
    except (struct.error, LookupError):
        return None
    value = data[place : place + count]
    if count > 2 * MAX_COMMENT + len(_UNICODE) or len(value) < count:
        return None
    unicode = "utf-16-be" if order == ">" else "utf-16-le"
    coding = unicode if value[:8] == _UNICODE else "utf-8"
    return value[8:].decode(coding, errors="replace") or None


def _entry(data: bytes, order: str, start: int, wanted: int) -> tuple[int, int]:
    """Count and value (or place) of an entry in the folder at ``start``."""
    for index in range(struct.unpack_from(order + "H", data, start)[0]):
        at = start + 2 + 12 * index
        tag, _, count, value = struct.unpack_from(order + "HHII", data, at)
        if tag == wanted:
            return count, value
    raise LookupError(wanted)
