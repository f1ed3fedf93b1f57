"""Track texts of the spline editors of ComfyUI, in every form that is about.

``[{"x": 1, "y": 2}, …]`` is one track; a list of such lists is several; a list of texts has a track in each;
one list more around it is a batch of drawings. Some write single quotes. Points may be ``[x, y]`` as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from wan_core.contract.options import show
from wan_plugin_ati.tables import TOO_LONG, of_table
from wan_plugin_ati.tracks import Drawing, TracksError, drawing_of, is_point

TRACK, BATCH = 1, 3
"""Lists around a point: of one track, and of a batch of drawings."""

# what Python prints of a list of texts: ['[{"x": 1, "y": 2}]', …]
_PYTHON_TEXTS = re.compile(r"\s*\[\s*'\s*\[")
_QUOTED = re.compile(r"'([^']*)'")

FORM = "tracks of a spline editor (JSON)"


def read_splines(text: str | Sequence[str]) -> Drawing:
    """The drawing of a text, or of texts that have a track each.

    A JSON object is a drawing of this plugin's own form (:func:`wan_plugin_ati.tables.of_table`).

    Raises:
        TracksError: it is no JSON, or not of that form.
    """
    value = load(text) if isinstance(text, str) else list(text)
    if isinstance(value, Mapping) and not is_point(value):
        return of_table(value, "drawing (JSON)")
    tracks = [(f"track {index}", points) for index, points in enumerate(_tracks(value))]
    return drawing_of(tracks, FORM)


def load(text: str) -> Any:
    """JSON, with single quotes where it is none with double ones.

    Raises:
        TracksError: line and column of what is wrong.
    """
    if _PYTHON_TEXTS.match(text):
        return _QUOTED.findall(text)
    try:
        return _load(text)
    except json.JSONDecodeError as error:
        try:
            return _load(text.replace("'", '"'))
        except json.JSONDecodeError:
            raise TracksError(
                f"the text is no JSON: {error.msg.lower()} in line {error.lineno}, column {error.colno}",
                remedy="copy the tracks from the editor again",
            ) from error


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise TracksError(
            "the text is no JSON of tracks: its lists are nested without end"
        ) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise TracksError(TOO_LONG) from error


def _refuse_constant(name: str) -> NoReturn:
    raise TracksError(f"a number in the text is {name}, which is no pixel")


def _tracks(value: Any) -> list[Any]:
    """Lists of points."""
    if not isinstance(value, list):
        raise TracksError(f"the text is {show(value)}, not a list of tracks")
    levels = _levels(value)
    if levels <= TRACK:
        return [value] if value else []
    if levels == BATCH:
        if len(value) > 1:
            raise TracksError(
                f"the text has {len(value)} drawings, one for each video of a batch",
                remedy="keep one of them",
            )
        return _tracks(value[0])
    if levels > BATCH:
        raise TracksError(f"the text has lists in lists, {levels} deep, and no tracks in them")
    return list(_each(value))


def _levels(value: Any) -> int:
    """How many lists are around the first point; a text stands for a track."""
    levels = 0
    while isinstance(value, list) and not is_point(value):
        levels += 1
        if not value:
            break
        value = value[0]
    return levels + isinstance(value, str)


def _each(value: list[Any]) -> Iterator[Any]:
    for index, one in enumerate(value):
        if isinstance(one, str):
            try:
                yield from _tracks(load(one))
            except TracksError as error:
                error.place(f"text {index} of the list")
                raise
        elif isinstance(one, list) and not is_point(one):
            yield one
        else:
            raise TracksError(f"item {index} of the list is {show(one)}, not a track")
