"""What ``wan-core inspect`` says of a video, a picture or a sound, and of the note inside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs

from wan_core.cli.inspect import Found
from wan_core.weights.places import printable

MOST_LETTERS = 64 * 1024
MOST_LINES = 200


def describe_media(path: Path) -> Found:
    """Size, length and comment of a video; the comment is somebody's word and only shown.

    Raises:
        MediaError: it can't be read.
    """
    from wan_core.media import probe

    info = probe(path)
    facts = {field.name: getattr(info, field.name) for field in attrs.fields(type(info))}
    facts = {key: float(v) if isinstance(v, Fraction) else v for key, v in facts.items()}
    comment = facts.pop("comment", None)
    note = _parsed(comment)
    rows = [(key, _short(value)) for key, value in facts.items() if value is not None]
    title = "comment"
    for line in _lines(comment, note):
        rows.append((title, line))
        title = ""
    return Found("media", rows, {**facts, "comment": comment if note is None else note})


def _parsed(comment: str | None) -> Any:
    """The comment as JSON, or None when it is none."""
    if not comment or len(comment) > MOST_LETTERS:
        return None
    try:
        found = json.loads(comment)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _lines(comment: str | None, note: Any) -> Iterator[str]:
    if not comment:
        return
    text = comment if note is None else json.dumps(note, indent=2, ensure_ascii=False)
    lines = text[:MOST_LETTERS].splitlines()
    yield from (printable(line) for line in lines[:MOST_LINES])
    if len(text) > MOST_LETTERS or len(lines) > MOST_LINES:
        yield "…"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
