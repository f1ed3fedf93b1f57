"""A text in Exif data, as the user's comment."""

from __future__ import annotations

from PIL import Image

from wan_core.media.formats import MAX_COMMENT

_EXIF_FOLDER = 0x8769
_USER_COMMENT = 0x9286
_UNICODE = b"UNICODE\0"


def with_comment(text: str) -> bytes:
    """Exif data that holds a comment, in UTF-16 as the standard has it."""
    exif = Image.Exif()
    exif.get_ifd(_EXIF_FOLDER)[_USER_COMMENT] = _UNICODE + text.encode("utf-16-be")
    return exif.tobytes().removeprefix(b"Exif\0\0")


def comment_in(data: bytes) -> str | None:
    """The comment in Exif data; None where there is none, or none that can be read."""
    try:
        exif = Image.Exif()
        exif.load(data)
        value = exif.get_ifd(_EXIF_FOLDER).get(_USER_COMMENT)
        if not isinstance(value, bytes) or len(value) > 2 * MAX_COMMENT + len(_UNICODE):
            return None
        order = "le" if exif.endian == "<" else "be"
    except Exception:  # whatever Pillow finds in damaged data
        return None
    kind, text = value[:8], value[8:]
    return text.decode(f"utf-16-{order}" if kind == _UNICODE else "utf-8", errors="replace") or None
