"""Drawings laid out over a clip: for each video frame where each point is. Imports no torch.

ATI's own files have 121 samples a track: 24 a second for 5 seconds. Upstream picks 81 of them and knows no
other clip. Here tracks of 121 samples are picked from by the same rule for clips of any length (that of
ComfyUI's core, which is upstream's at 81 frames), and tracks of other lengths are spread over the clip.
"""

from __future__ import annotations

import math
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from wan_plugin_ati.tracks import SEEN, Drawing, Floats, Times, Track, Units

SAMPLES = 121
"""Samples of a track in ATI's own files."""

Padding = Literal["spread", "zeros"]


@attrs.frozen
class Window:
    """The part of the canvas that the video shows, in pixels of the canvas."""

    width: float
    height: float
    left: float = 0.0
    top: float = 0.0


@attrs.frozen
class Layout:
    """How a drawing is read.

    Attributes:
        canvas: width and height in pixels of what it was drawn on.
        window: what of it the video shows.
        frames, fps: of the clip.
        units: of its points.
        times: what times of samples count.
        padding: what becomes of a track that does not have 121 samples: it is spread over the clip, or, as
            upstream does, filled up with hidden samples in the corner, or cut.
    """

    canvas: tuple[int, int]
    window: Window
    frames: int
    fps: float = 16.0
    units: Units = "pixels"
    times: Times = "share"
    padding: Padding = "spread"

    @property
    def per_time(self) -> float:
        """Frames in one unit of ``times``."""
        return {"share": self.frames - 1, "seconds": self.fps, "frames": 1}[self.times]


@attrs.frozen(eq=False)
class Laid:
    """Tracks over the frames of a clip.

    Attributes:
        points: ``[frames, tracks, 2]`` float32, pixels of the canvas.
        visible: ``[frames, tracks]`` float32, 1 where the point is seen and 0 where it is hidden.
        moments: ``[frames, tracks]`` float32, from -1 to 1.
    """

    points: Floats
    visible: Floats
    moments: Floats

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Where each point is seen."""
        return self.visible > SEEN


def lay_out(drawing: Drawing, layout: Layout) -> Laid:
    """Where each point is in each frame."""
    laid = [_track(_in_pixels(track, layout), layout) for track in drawing.tracks]
    points, visible, moments = (np.stack(part, axis=1) for part in zip(*laid, strict=True))
    return Laid(points, visible, moments)


def processed(laid: Laid, window: Window) -> Floats:
    """The form that the model is told: ``[frames, tracks, (t, x, y, v)]`` float32.

    The short side of the window is from -1 to 1 and its centre 0; v is 1 for seen points, -1 for hidden ones.
    """
    shortest = min(window.width, window.height)
    centre = (window.left + window.width / 2, window.top + window.height / 2)
    places = (laid.points - np.asarray(centre, np.float32)) * np.float32(2) / np.float32(shortest)
    told = [laid.moments[..., None], places, 2 * laid.visible[..., None] - 1]
    return np.concatenate(told, axis=2, dtype=np.float32)


def padded(track: Track) -> tuple[Floats, Floats]:
    """Points and visibility of 121 samples: filled with hidden ones at 0, or cut."""
    missing = max(0, SAMPLES - len(track.points))
    points = np.pad(track.points[:SAMPLES], ((0, missing), (0, 0)))
    return points, np.pad(track.visible[:SAMPLES], (0, missing))


def picks(frames: int) -> NDArray[np.intp] | None:
    """Which of 121 samples each frame takes; None where the rule gives none, and they are spread instead.

    For 81 frames it is floor(3 m / 2). Clips of 121, 241 … frames are those for which the rule would ask
    for a 122nd sample.
    """
    steps = frames - 1
    divisor = math.gcd(SAMPLES - 1, steps)
    a, b = (SAMPLES - 1) // divisor, steps // divisor
    if a == 1 and steps:
        return None
    later = [1 + (1 + a * (m - 1)) // b for m in range(1, frames)]
    return np.asarray([0, *later], np.intp)


def _in_pixels(track: Track, layout: Layout) -> Track:
    if layout.units == "pixels":
        return track
    return attrs.evolve(track, points=track.points * np.asarray(layout.canvas, np.float32))


def _track(track: Track, layout: Layout) -> tuple[Floats, Floats, Floats]:
    """Points, visibility and moments of one track in each frame."""
    frames = layout.frames
    if track.times is not None:
        return (*_at_times(track, layout), _even(frames))
    points, visible = track.points, track.visible
    if layout.padding == "zeros":
        points, visible = padded(track)
    picked = picks(frames) if len(points) == SAMPLES else None
    if picked is None:
        return (*_spread(points, visible, frames), _even(frames))
    return points[picked], visible[picked], _even(SAMPLES)[picked]


def _even(count: int) -> Floats:
    return np.linspace(-1, 1, count).astype(np.float32)


def _spread(points: Floats, visible: Floats, frames: int) -> tuple[Floats, Floats]:
    """Samples that follow each other evenly from the first frame to the last."""
    last = len(points) - 1
    places = np.arange(frames) * (last / max(frames - 1, 1))
    low = np.minimum(np.floor(places + 1e-9).astype(np.intp), last)
    high = np.minimum(low + 1, last)
    share = np.clip(places - low, 0, 1)
    nearest = np.where(share < 0.5, low, high)
    # beside a hidden sample, whose place may mean nothing, the nearest one counts as it is
    both = np.minimum(visible[low], visible[high]) > SEEN
    between = _between(points[low], points[high], share)
    return np.where(both[:, None], between, points[nearest]), visible[nearest]


def _at_times(track: Track, layout: Layout) -> tuple[Floats, Floats]:
    """Samples with times: before the first and after the last the point stays where it is.

    A hidden sample hides the point from then on, until the next that is seen.
    """
    assert track.times is not None
    times = track.times * layout.per_time
    frames = np.arange(layout.frames)
    # a time that is meant to be a frame's is not missed by rounding
    following = np.searchsorted(times, frames + 1e-6, side="right")
    low = np.clip(following - 1, 0, len(times) - 1)
    high = np.clip(following, 0, len(times) - 1)
    length = np.where(high > low, times[high] - times[low], 1)
    share = np.clip((frames - times[low]) / length, 0, 1)
    return _between(track.points[low], track.points[high], share), track.visible[low]


def _between(one: Floats, other: Floats, share: NDArray[np.float64]) -> Floats:
    mixed = one + (other - one) * share[:, None]
    return mixed.astype(np.float32)
