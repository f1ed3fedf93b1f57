"""Options of the feature ``ati``. Imports no torch: workflows are read with these."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import attrs

from wan_core.contract.options import (
    OptionError,
    checked_field,
    choice,
    flag,
    integer,
    number,
    show,
)
from wan_plugin_ati.clip import Padding
from wan_plugin_ati.files import read_tracks
from wan_plugin_ati.tables import LARGEST_SIDE, of_table
from wan_plugin_ati.tracks import Drawing, Times, Units

SCALED = "scaled"
MOST_TEMPERATURE = 100_000
MOST_TOPK = 1000


@attrs.frozen
class InlinePoint:
    """A point of a track in a workflow."""

    x: float
    y: float
    visible: bool = True
    at: float | None = None


@attrs.frozen
class InlineTrack:
    """A track in a workflow."""

    points: tuple[InlinePoint | tuple[float, ...], ...]
    name: str | None = None


def _tracks(value: Any, name: str) -> Any:
    if isinstance(value, str) and value:
        return Path(value)
    if isinstance(value, Path):
        return value
    if isinstance(value, list | tuple) and all(isinstance(one, InlineTrack) for one in value):
        return tuple(value)
    raise OptionError(name, f"must be a track file or a list of tracks, not {show(value)}")


def _temperature(value: Any, name: str) -> float | str:
    if value == SCALED and isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(name, f'must be a number or "{SCALED}", not {show(value)}')
    if not 0 <= value <= MOST_TEMPERATURE:
        raise OptionError(name, f"must be from 0 to {MOST_TEMPERATURE}, not {show(value)}")
    return float(value)


@attrs.frozen
class AtiOptions:
    """Options of the feature ``ati``."""

    tracks: Path | tuple[InlineTrack, ...] = checked_field(
        _tracks,
        default=attrs.NOTHING,
        allowed="a track file, or a list of { points = [[x, y], …] }",
        help="paths that points of the picture take",
        unset="",
    )
    width: int | None = integer(
        1,
        LARGEST_SIDE,
        default=None,
        unset="what the track file says, else that of the picture",
        help="width in pixels of what the tracks were drawn on",
    )
    height: int | None = integer(
        1,
        LARGEST_SIDE,
        default=None,
        unset="what the track file says, else that of the picture",
        help="height in pixels of what the tracks were drawn on",
    )
    units: Units | None = choice(
        *get_args(Units),
        default=None,
        unset='what the track file says, else "pixels"',
        help="what points are given in: pixels, or fractions of width and height",
    )
    times: Times | None = choice(
        *get_args(Times),
        default=None,
        unset='what the track file says, else "share"',
        help="what the time of a point counts: share of the clip, seconds or frames",
    )
    padding: Padding = choice(
        *get_args(Padding),
        default="spread",
        help="what becomes of tracks that do not have ATI's 121 samples: they are spread over the clip, or "
        "filled up with hidden zeros as upstream does",
    )
    temperature: float | str | None = checked_field(
        _temperature,
        default=None,
        allowed=f'a number from 0 to {MOST_TEMPERATURE}, or "{SCALED}"',
        help=f'how narrow the spot around a point is; "{SCALED}" is 220 brought to the size of the latents',
        unset=f'what the family was trained with: 220, of tiny-ati "{SCALED}"',
        raw=True,
    )
    topk: int = integer(
        1, MOST_TOPK, default=2, help="so many tracks count at most where several meet"
    )
    start: float = number(
        0, 1, default=0.0, help="part of the run after which tracks begin to lead"
    )
    end: float = number(0, 1, default=1.0, help="part of the run after which they end")
    overlay: bool = flag(default=False, help="draw the tracks over the video")


def drawing_from(options: AtiOptions) -> Drawing:
    """The tracks that options name or hold.

    Raises:
        TracksError: the file is none of tracks, or they can't be meant.
    """
    if isinstance(options.tracks, Path):
        return read_tracks(options.tracks)
    tables = [_table(track) for track in options.tracks]
    return of_table({"tracks": tables}, "tracks in the workflow")


def _table(track: InlineTrack) -> dict[str, Any]:
    points = [
        attrs.asdict(point) if isinstance(point, InlinePoint) else list(point)
        for point in track.points
    ]
    return {"points": points} | ({} if track.name is None else {"name": track.name})
