"""The forms that people write: TOML (and the same as JSON), and CSV.

TOML::

    units = "fractions"                  # or "pixels", then width and height of what was drawn on
    times = "seconds"                    # what "at" counts: "share" of the clip (0…1), "seconds", "frames"

    [[tracks]]
    name = "ball"
    points = [[0.2, 0.5], [0.8, 0.5]]    # spread evenly over the clip

    [[tracks]]
    name = "cat"
    points = [
        { x = 0.1, y = 0.3, at = 0 },
        { x = 0.6, y = 0.3, at = 1.5 },
        { x = 0.6, y = 0.3, at = 3, visible = false },
    ]

CSV has a line for each point under a head: ``track,x,y``, and ``visible`` and ``at`` where wanted.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping
from typing import Any, get_args

from wan_core.contract import nearest
from wan_core.contract.options import show, unprintable
from wan_plugin_ati.tracks import (
    LONGEST_NAME,
    MOST_SAMPLES,
    Drawing,
    Times,
    TracksError,
    Units,
    drawing_of,
)

KEYS = ("units", "width", "height", "times", "tracks")
TRACK_KEYS = ("name", "points")
POINT_KEYS = ("x", "y", "visible", "at")
COLUMNS = ("track", *POINT_KEYS)
LARGEST_SIDE = 2**16
TOO_LONG = "a number in the text has too many digits"
"""More than Python converts."""
_TRUE, _FALSE = {"1", "true", "yes"}, {"0", "false", "no"}


def read_toml(text: str) -> Drawing:
    """The drawing of a TOML text.

    Raises:
        TracksError: it is no TOML, or not of this form.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TracksError(f"the text is no TOML: {str(error).lower()}") from error
    except RecursionError as error:
        raise TracksError("the text is no TOML of tracks: it is nested without end") from error
    except ValueError as error:
        raise TracksError(TOO_LONG) from error
    if "stages" in table:
        raise TracksError("this is a workflow, not a drawing of tracks", remedy="name a track file")
    return of_table(table, "drawing (TOML)")


def of_table(table: Mapping[str, Any], form: str) -> Drawing:
    """The drawing of a table, as TOML and JSON give it.

    Raises:
        TracksError: a key is unknown, or a value can't be meant.
    """
    _check_keys(table, KEYS, "the drawing")
    tracks = table.get("tracks", [])
    if not isinstance(tracks, list):
        raise TracksError(f"tracks must be a list of tables, not {show(tracks)}")
    return drawing_of(
        [_track(one, index) for index, one in enumerate(tracks)],
        form,
        units=_one_of(table, "units", get_args(Units)),
        times=_one_of(table, "times", get_args(Times)),
        canvas=_canvas(table),
    )


def _track(table: Any, index: int) -> tuple[str, list[Any]]:
    if not isinstance(table, Mapping):
        raise TracksError(f"track {index} must be a table with points, not {show(table)}")
    _check_keys(table, TRACK_KEYS, f"track {index}")
    name = table.get("name")
    if name is not None and (
        not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or unprintable(name)
    ):
        raise TracksError(
            f"the name of track {index} must be text of at most {LONGEST_NAME} characters, not {show(name)}"
        )
    title = f"track {index}" if name is None else f"track {show(name)}"
    points = table.get("points")
    if not isinstance(points, list):
        raise TracksError(f"{title} has no list of points")
    for number, point in enumerate(points):
        if isinstance(point, Mapping):
            _check_keys(point, POINT_KEYS, f"point {number} of {title}")
    return title, points


def _check_keys(table: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for key in table:
        if key not in known:
            raise TracksError(f"{what} has no key {show(key)}", remedy=nearest(key, known))


def _one_of(table: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> Any:
    value = table.get(key)
    if value is not None and value not in allowed:
        words = " or ".join(map(show, allowed))
        raise TracksError(f"{key} must be {words}, not {show(value)}")
    return value


def _canvas(table: Mapping[str, Any]) -> tuple[int, int] | None:
    sides = []
    for key in ("width", "height"):
        value = table.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIDE:
            raise TracksError(
                f"{key} must be a whole number from 1 to {LARGEST_SIDE}, not {show(value)}"
            )
        sides.append(value)
    if len(sides) == 1:
        raise TracksError("width and height of the canvas belong together", remedy="give both")
    return (sides[0], sides[1]) if sides else None


def read_csv(text: str) -> Drawing:
    """The drawing of a CSV text; without a column ``track`` all points are one track.

    Raises:
        TracksError: a column is missing or unknown, or a cell can't be read; the line is named.
    """
    rows = csv.reader(io.StringIO(text, newline=None))
    tracks: dict[str, list[Any]] = {}
    try:
        head = [cell.strip().lower() for cell in next(rows, [])]
        _check_head(head)
        for count, row in enumerate(rows):
            if count >= MOST_SAMPLES:
                raise TracksError(f"there are more than {MOST_SAMPLES} points")
            if not row:
                continue
            point = _row(head, row, rows.line_num)
            name = str(point.pop("track", ""))
            tracks.setdefault(name, []).append(point)
    except csv.Error as error:
        raise TracksError(f"line {rows.line_num} is no CSV ({error})") from error
    titled = [(f"track {show(name)}" if name else "the track", t) for name, t in tracks.items()]
    return drawing_of(titled, "table (CSV)")


def _check_head(head: list[str]) -> None:
    if not {"x", "y"} <= set(head):
        raise TracksError(
            "the first line does not name the columns x and y",
            remedy="let it say track,x,y (and visible, at where wanted), with commas in between",
        )
    for column in head:
        if column not in COLUMNS:
            raise TracksError(f"there is no column {show(column)}", remedy=nearest(column, COLUMNS))
    if len(set(head)) < len(head):
        raise TracksError("a column is there twice")


def _row(head: list[str], row: list[str], line: int) -> dict[str, Any]:
    if len(row) != len(head):
        raise TracksError(
            f"line {line} does not have {len(head)} cells as the first line has, but {len(row)}"
        )
    point: dict[str, Any] = {}
    for column, cell in zip(head, map(str.strip, row), strict=True):
        if column == "track":
            if len(cell) > LONGEST_NAME or unprintable(cell):
                raise TracksError(f"line {line}: {show(cell)} is no name of a track")
            point[column] = cell
        elif column == "visible":
            if cell.lower() not in _TRUE | _FALSE:
                raise TracksError(f"line {line}: visible must be 1 or 0, not {show(cell)}")
            point[column] = cell.lower() in _TRUE
        else:
            try:
                point[column] = float(cell)
            except ValueError as error:
                raise TracksError(
                    f"line {line}: {column} must be a number, not {show(cell)}"
                ) from error
    return point
