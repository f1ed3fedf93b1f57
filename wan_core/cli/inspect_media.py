"""What ``wan-core inspect`` says of a video, a picture or a sound, and of the note inside it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import attrs

from wan_core.cli.inspect import Found
from wan_core.cli.text import titled
from wan_core.contract.errors import MediaError
from wan_core.weights.places import look, printable, sort_of

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
    if info.frames == 1 and path.is_file() and sort_of(look(path)) == "picture":
        facts = {"width": info.width, "height": info.height}  # it lasts no time
    rows = [(key, _short(value)) for key, value in facts.items() if value is not None]
    rows += _record(path, comment) or _under("comment", _lines(comment, note))
    return Found("media", rows, {**facts, "comment": comment if note is None else note})


def _record(path: Path, comment: str | None) -> list[tuple[str, str]]:
    """What a video of ours says of how it was made; empty for others."""
    from wan_core.planning import read_record

    try:
        record = read_record(comment, where=str(path))
    except MediaError:
        return []
    seeds = [f"{stage} {seed}" for stage, seed in record.seeds.items()]
    weights = [f"{slot} {sum_[:16]}" for slot, sum_ in record.weights.items()]
    rows = [
        *_under("made with", (f"{key} {value}" for key, value in record.versions.items())),
        *_under("on", (f"{key} {value}" for key, value in record.machine.items())),
        *_under("seeds", seeds),
        *_under("weights", weights),
    ]
    if record.workflow is None:
        return [*rows, ("workflow", f"only its SHA-256, {record.workflow_sha256}")]
    return [*rows, *_under("workflow", record.workflow.splitlines()[:MOST_LINES])]


def _under(title: str, lines: Iterable[str]) -> list[tuple[str, str]]:
    """Somebody's lines under a title."""
    return titled(title, map(printable, lines))


def _parsed(comment: str | None) -> Any:
    """The comment as JSON, or None when it is none."""
    if not comment or len(comment) > MOST_LETTERS:
        return None
    try:
        # what is no number in JSON is none here, or the answer to --json would be no JSON either
        found = json.loads(comment, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _lines(comment: str | None, note: Any) -> Iterator[str]:
    if not comment:
        return
    text = comment if note is None else json.dumps(note, indent=2, ensure_ascii=False)
    lines = text[:MOST_LETTERS].splitlines()
    yield from lines[:MOST_LINES]
    if len(text) > MOST_LETTERS or len(lines) > MOST_LINES:
        yield "…"


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else printable(str(value))
