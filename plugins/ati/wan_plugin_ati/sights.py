"""Whether tracks can be meant where they are: on the picture, in its pixels. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_plugin_ati.clip import Laid, Layout, Window
from wan_plugin_ati.tracks import Drawing, TracksError

LITTLE = 1.5
"""No drawing has all of its points this near to the corner: such numbers are fractions."""
FAST = 0.5
"""Share of the long side within two frames; faster ones are lost."""
MOST_NAMED = 3


def places_notes(drawing: Drawing, layout: Layout, laid: Laid) -> list[str]:
    """Refuse what can't be meant; notes for the user on what is odd.

    Raises:
        TracksError: no point is ever seen; the points are of another size or unit than they are read in; all
            tracks start off the picture.
    """
    if not laid.seen.any():
        raise TracksError("no track is ever visible", remedy="let one point be seen at least")
    _check_units(drawing, layout)
    window = layout.window
    off = _off(laid, window)
    what = "the picture" if _is_whole(layout) else "what the video shows of the picture"
    if off[0].all():
        if not _off(laid, Window(*map(float, layout.canvas)))[0].all():
            raise TracksError(
                f"all tracks start where the picture is cut: {_extent(laid)} on {_size(layout)}, of which the "
                f"video shows x {_round(window.left)} to {_round(window.left + window.width)} and "
                f"y {_round(window.top)} to {_round(window.top + window.height)}",
                remedy="give the video the proportions of the picture",
            )
        raise TracksError(
            f"all tracks start off the picture: {_extent(laid)} on {_size(layout)}",
            remedy=_hint(laid, layout),
        )
    notes = []
    if off[0].any():
        notes.append(
            f"{_named(drawing, off[0])} off {what} at the start, so there is nothing under it to move"
        )
    gone = (off | ~laid.seen).all(axis=0) & ~off[0]
    if gone.any():
        notes.append(f"{_named(drawing, gone)} never seen on {what}")
    if (late := _beyond(drawing, layout)).any():
        notes.append(
            f"{_named(drawing, late)} drawn beyond the clip, whose times are 0 to "
            f"{_round((layout.frames - 1) / layout.per_time)} ({layout.times})"
        )
    if (fast := _fast(laid, layout)).any():
        notes.append(
            f"{_named(drawing, fast)} faster than half the picture in two frames, which is hardly followed"
        )
    return notes


def _check_units(drawing: Drawing, layout: Layout) -> None:
    points = np.concatenate([track.points[track.seen] for track in drawing.tracks])
    largest = float(np.abs(points).max())
    if layout.units == "pixels" and largest <= LITTLE and min(layout.canvas) > 16:
        raise TracksError(
            f"all points lie between {_round(points.min())} and {_round(points.max())}, and are read as "
            f"pixels of {_size(layout)}",
            remedy='say units = "fractions" if they are shares of width and height',
        )
    if layout.units == "fractions" and float(np.abs(points).min(axis=0).max()) > 2:
        raise TracksError(
            f"points reach {_round(largest)}, and are read as fractions of {_size(layout)}",
            remedy='say units = "pixels" if they are pixels',
        )


def _is_whole(layout: Layout) -> bool:
    return (layout.window.width, layout.window.height) == layout.canvas


def _beyond(drawing: Drawing, layout: Layout) -> NDArray[np.bool_]:
    """Which tracks have times outside of the clip."""
    last = layout.frames - 1
    times = [track.times for track in drawing.tracks]
    return np.asarray(
        [
            one is not None and last > 0 and (one[0] < 0 or one[-1] * layout.per_time > last + 1e-6)
            for one in times
        ]
    )


def _off(laid: Laid, window: Window) -> NDArray[np.bool_]:
    """Which points lie off a window, ``[frames, tracks]``."""
    start = np.asarray((window.left, window.top))
    end = start + np.asarray((window.width, window.height))
    off: NDArray[np.bool_] = ((laid.points < start) | (laid.points > end)).any(axis=2)
    return off


def _fast(laid: Laid, layout: Layout) -> NDArray[np.bool_]:
    if len(laid.points) < 3:
        return np.zeros(laid.points.shape[1], bool)
    seen = laid.seen[2:] & laid.seen[:-2]
    jumps = np.linalg.norm(laid.points[2:] - laid.points[:-2], axis=2) * seen
    fast: NDArray[np.bool_] = jumps.max(axis=0) > FAST * max(layout.canvas)
    return fast


def _hint(laid: Laid, layout: Layout) -> str:
    (left, top), (right, bottom) = laid.points[0].min(axis=0), laid.points[0].max(axis=0)
    if min(left, top) >= 0:
        return (
            "say width and height of what they were drawn on, at least "
            f"{int(np.ceil(right))} and {int(np.ceil(bottom))}"
        )
    return (
        f"draw them on the picture, whose pixels are 0 to {layout.canvas[0]} and {layout.canvas[1]}"
    )


def _extent(laid: Laid) -> str:
    (left, top), (right, bottom) = laid.points[0].min(axis=0), laid.points[0].max(axis=0)
    return f"x {_round(left)} to {_round(right)} and y {_round(top)} to {_round(bottom)}"


def _named(drawing: Drawing, which: NDArray[np.bool_]) -> str:
    """``"track 2 is"``, ``"track 2 and track 3 are"``, with what is off them left to follow."""
    names = [drawing.tracks[index].name for index in np.flatnonzero(which)]
    if len(names) == 1:
        return f"{names[0]} is"
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return f"{', '.join(names[:-1])} and {names[-1]} are"


def _size(layout: Layout) -> str:
    return f"{layout.canvas[0]}x{layout.canvas[1]}"


def _round(value: float | np.floating) -> str:
    return f"{float(value):.4g}"
