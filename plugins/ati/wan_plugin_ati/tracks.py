"""What a drawing of tracks is: points in time, as the user drew them. Imports no torch.

A *track* is the path of one point of the picture through the clip; a *drawing* is all tracks of one file. Files
of any form become this (:mod:`wan_plugin_ati.files`), and :mod:`wan_plugin_ati.clip` lays it out over a clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from wan_core.contract import WorkflowError
from wan_core.contract.options import show

Units = Literal["pixels", "fractions"]
Times = Literal["share", "seconds", "frames"]
Floats = NDArray[np.float32]

MOST_TRACKS = 1000
MOST_SAMPLES = 2_000_000
"""Of all tracks together."""
LONGEST_NAME = 100
SEEN = 0.5
"""A point is seen where its visibility is above it: the edit counts such points and no others."""
FARTHEST = 1e7
"""No pixel is as far away."""


class TracksError(WorkflowError):
    """Tracks can't be read, or can't be meant."""


@attrs.frozen(eq=False)
class Track:
    """The path of one point.

    Attributes:
        name: for people, in messages.
        points: ``[samples, 2]``, x to the right and y down.
        visible: ``[samples]``, 1 where the point is seen and 0 where it is hidden.
        times: when each sample is, rising; None = they are spread evenly over the clip.
    """

    name: str
    points: Floats
    visible: Floats
    times: NDArray[np.float64] | None = None

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which samples are seen."""
        return self.visible > SEEN


@attrs.frozen(eq=False)
class Drawing:
    """All tracks of a clip, and what their file says of them.

    Attributes:
        form: what kind of file it was, for people.
        units: of the points; None = the file does not say.
        canvas: width and height in pixels of what they were drawn on, where the file says so.
        times: what times of samples count; None = the file does not say.
        repaired: what was odd about the file, for the user.
    """

    tracks: tuple[Track, ...]
    form: str
    units: Units | None = None
    canvas: tuple[int, int] | None = None
    times: Times | None = None
    repaired: tuple[str, ...] = ()


def drawing_of(lists: Sequence[tuple[str, Sequence[Any]]], form: str, **said: Any) -> Drawing:
    """A drawing of named lists of points.

    A point is ``{"x": …, "y": …}``, with ``"visible"`` and ``"at"`` (its time) where that is known, or
    ``[x, y]`` or ``[x, y, visible]``.

    Args:
        said: what the file says, as :class:`Drawing` has it.

    Raises:
        TracksError: a point is none; there are no tracks, or too many.
    """
    check_count(len(lists), sum(len(points) for _, points in lists))
    return Drawing(tuple(_track(name, points) for name, points in lists), form, **said)


def drawing_of_array(array: NDArray[Any], form: str, **said: Any) -> Drawing:
    """A drawing of ``[tracks, samples, 2]`` or, with what is visible, ``[tracks, samples, 3]``.

    Raises:
        TracksError: as for :func:`drawing_of`.
    """
    check_count(array.shape[0], array.shape[0] * array.shape[1])
    if not array.shape[1]:
        raise TracksError("the tracks have no points")
    # far numbers of wider types overflow, and are refused as what they become
    with np.errstate(over="ignore"):
        floats = array.astype(np.float32)
    if floats.shape[2] == 2:
        floats = np.concatenate([floats, np.ones_like(floats[..., :1])], axis=2)
    wrong = ~(np.abs(floats) <= FARTHEST).all(axis=2)
    if wrong.any():
        track, sample = np.argwhere(wrong)[0]
        value = next(float(one) for one in floats[track, sample] if not abs(one) <= FARTHEST)
        raise TracksError(f"sample {sample} of track {track} is {_far(value)}")
    tracks = tuple(
        Track(f"track {index}", one[:, :2], one[:, 2]) for index, one in enumerate(floats)
    )
    return Drawing(tracks, form, **said)


def check_count(tracks: int, samples: int) -> None:
    """Refuse no tracks, and more than anybody draws.

    Raises:
        TracksError: and why.
    """
    if not tracks:
        raise TracksError("there are no tracks", remedy="draw one at least")
    for count, most, what in ((tracks, MOST_TRACKS, "tracks"), (samples, MOST_SAMPLES, "points")):
        if count > most:
            raise TracksError(f"there are {count} {what}, the most are {most}")


def is_point(value: object) -> bool:
    """Whether a value is meant as a point."""
    if isinstance(value, Mapping):
        return "x" in value or "y" in value
    return (
        isinstance(value, list | tuple)
        and 2 <= len(value) <= 3
        and not any(isinstance(one, list | tuple | dict | str) for one in value)
    )


def _track(name: str, points: Sequence[Any]) -> Track:
    if not points:
        raise TracksError(f"{name} has no points", remedy="leave it out, or draw it")
    read = [_point(point, f"point {index} of {name}") for index, point in enumerate(points)]
    ats = [at for *_, at in read]
    times = None
    if any(at is not None for at in ats):
        if None in ats:
            raise TracksError(
                f"point {ats.index(None)} of {name} has no time, others have",
                remedy='give all of them an "at", or none',
            )
        times = np.asarray(ats, np.float64)
        if (backwards := np.flatnonzero(np.diff(times) <= 0)).size:
            later = int(backwards[0]) + 1
            raise TracksError(
                f"point {later} of {name} is at {times[later]:g}, not after the one before it",
                remedy="let times rise from point to point",
            )
    return Track(
        name,
        np.asarray([[x, y] for x, y, *_ in read], np.float32),
        np.asarray([visible for *_, visible, _ in read], np.float32),
        times,
    )


def _point(value: Any, place: str) -> tuple[float, float, float, float | None]:
    """x, y, visible and time."""
    if not is_point(value):
        raise TracksError(
            f"{place} is {show(value)}",
            remedy='write points as { x = 1, y = 2 } or [1, 2], with "visible" and "at" where needed',
        )
    if not isinstance(value, Mapping):
        value = dict(zip(("x", "y", "visible"), value, strict=False))
    if missing := [key for key in ("x", "y") if key not in value]:
        raise TracksError(f"{place} has no {missing[0]}")
    at = value.get("at")
    return (
        _number(value["x"], f"x of {place}"),
        _number(value["y"], f"y of {place}"),
        _seen(value.get("visible", True), f"visible of {place}"),
        None if at is None else _number(at, f"at of {place}", "time"),
    )


def _number(value: object, place: str, what: str = "pixel") -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TracksError(f"{place} must be a number, not {show(value)}")
    if not abs(value) <= FARTHEST:
        raise TracksError(f"{place} is {_far(value, what)}")
    return float(value)


def _seen(value: object, place: str) -> float:
    if value not in (True, False, 0, 1):
        raise TracksError(f"{place} must be true or false, not {show(value)}")
    return float(bool(value))


def _far(value: float, what: str = "pixel") -> str:
    if isinstance(value, float) and math.isnan(value):
        return "no number (NaN)"
    if isinstance(value, float) and math.isinf(value):
        return "infinite"
    return f"{show(value)}, which is no {what}"
