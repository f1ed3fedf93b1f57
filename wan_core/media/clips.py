"""Videos to start from: a part of one, at another rate, upright, as a source of chunks at constant memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from wan_core.contract.errors import MediaError
from wan_core.media.chunks import Chunks
from wan_core.media.formats import exact_rate
from wan_core.media.timed import TimedFrame, frame_times, timed_frames

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_FRAMES = 2**18
"""Frames that a part at another rate may have: three hours at 24 a second."""

_LITTLE = Fraction(1, 10)
"""Share of a frame that counts as none."""


@attrs.frozen
class Part:
    """Which frames of a video, and how many of them a second.

    First the part is cut out, by seconds or by frames. By seconds it begins with the frame that is shown at
    its start. At another rate, frame number k then is the one whose time is nearest to k / fps after the start
    of the part (the earlier of two); there is one for every k that begins before its end. A tenth of a frame
    counts as none, because the clocks of files are coarse. Of these every nth is taken, and so many at most.

    Attributes:
        start, end: in seconds; ``end`` is not in it; None = to the end.
        first, stop: instead, numbers of frames of the file; ``stop`` is not in it.
        fps: frames per second; None = the frames as they are.
        every: 2 = every second one.
        most: at most so many; None = all.
    """

    start: float | Fraction | None = None
    end: float | Fraction | None = None
    first: int | None = None
    stop: int | None = None
    fps: float | Fraction | None = None
    every: int = 1
    most: int | None = None


@attrs.frozen
class ClipInfo:
    """What a part of a video is.

    Attributes:
        width, height: in pixels, upright.
        frames: that the part has.
        fps: frames per second; of a part at no other rate their average.
        source_frames: that the whole video has.
        seconds: length of the whole video.
        steady: all frames of the video are shown equally long (but for the clock of the file).
        notes: what reading it changes or leaves out, for the user.
    """

    width: int
    height: int
    frames: int
    fps: Fraction
    source_frames: int
    seconds: float
    steady: bool
    notes: tuple[str, ...] = ()


WHOLE = Part()


def probe_clip(path: Path | str, part: Part = WHOLE) -> ClipInfo:
    """What a part of a video is, frames counted; one frame is decoded.

    Raises:
        MediaError: it is no video, the part makes no sense, or nothing is in it.
    """
    path = Path(path)
    check_part(part, str(path))
    times = frame_times(path)
    first = next(timed_frames(path))
    if not times:
        raise MediaError("this file has no video in it", where=str(path))
    frames = (TimedFrame(i, start, end, None) for i, (start, end) in enumerate(times))
    picked = sum(1 for _ in _picked(frames, part, str(path)))
    seconds = times[-1][1]
    if not picked:
        raise _nothing(path, part, len(times), seconds)
    average = Fraction(len(times), 1) / seconds if seconds else Fraction(0)
    rate = exact_rate(part.fps) if part.fps else _plain(average)
    lengths = [following[0] - one[0] for one, following in itertools.pairwise(times)]
    steady = not lengths or max(lengths) - min(lengths) <= max(Fraction(1, 99), min(lengths) / 4)
    height, width = first.picture().shape[:2]
    return ClipInfo(
        width,
        height,
        picked,
        rate / part.every,
        len(times),
        float(seconds),
        steady,
        first.notes,
    )


def read_clip(path: Path | str, part: Part = WHOLE) -> Chunks:
    """A part of a video as a source of chunks ``[1, height, width, 3]`` uint8 that may be read again.

    Frames are upright. Those that are not taken are decoded, but not converted; what lies far before the part
    is jumped over where the file allows it. Two frames at most are held.

    Raises:
        MediaError: the part makes no sense; with the first chunk: it is no video, or nothing is in the part;
            later: it is damaged.
    """
    path = Path(path)
    check_part(part, str(path))
    return Chunks(lambda: _read(path, part))


def check_part(part: Part, where: str) -> None:
    """Refuse what can't be meant.

    Raises:
        MediaError: it can't.
    """
    by_seconds = part.start is not None or part.end is not None
    if by_seconds and (part.first is not None or part.stop is not None):
        raise MediaError(
            "a part is said by seconds or by frames, not by both",
            where=where,
            remedy="leave one out",
        )
    start, end = (part.start, part.end) if by_seconds else (part.first, part.stop)
    unit = "seconds" if by_seconds else "frames"
    for one in (start, end):
        if one is not None and not (math.isfinite(one) and one >= 0):
            raise MediaError(f"a part can't begin or end at {one} {unit}", where=where)
    if end is not None and end <= (start or 0):
        raise MediaError(
            f"the part ends at {_shown(end)} {unit}, but begins at {_shown(start or 0)}",
            where=where,
        )
    if part.fps is not None:
        try:
            exact_rate(part.fps)
        except MediaError as error:
            error.where = where
            raise
    for name, value in (("every", part.every), ("most", part.most)):
        if value is not None and value < 1:
            raise MediaError(f"{name} is {value}", where=where, remedy="use a number above 0")


def _read(path: Path, part: Part) -> Iterator[NDArray[np.uint8]]:
    near = Fraction(part.start) if part.start is not None else Fraction(0)
    seen: list[TimedFrame] = []

    def watched() -> Iterator[TimedFrame]:
        for frame in timed_frames(path, near):
            seen[:] = [frame]
            yield frame

    empty = True
    for frame in _picked(watched(), part, str(path)):
        empty = False
        yield frame.picture()[None]
    if empty and seen:
        raise _nothing(path, part, seen[0].index + 1, seen[0].end)


def _picked(frames: Iterable[TimedFrame], part: Part, where: str) -> Iterator[TimedFrame]:
    """The frames of a part, some perhaps several times; nothing is converted."""
    origin, limit = None, None
    if part.start is not None or part.end is not None:
        origin = Fraction(part.start or 0)
        limit = None if part.end is None else Fraction(part.end)
        inside = _between(frames, origin, limit)
    else:
        inside = itertools.islice(frames, part.first or 0, part.stop)
    if part.fps is not None:
        inside = _bounded(_at_rate(inside, exact_rate(part.fps), origin, limit), where)
    stop = None if part.most is None else part.most * part.every
    return itertools.islice(inside, 0, stop, part.every)


def _bounded(frames: Iterable[TimedFrame], where: str) -> Iterator[TimedFrame]:
    """Refuse files that say a frame lasts for years."""
    for number, frame in enumerate(frames):
        if number >= MAX_FRAMES:
            raise MediaError(
                f"this part of the video has more than {MAX_FRAMES} frames",
                where=where,
                remedy="take a shorter one, or fewer frames per second",
            )
        yield frame


def _between(
    frames: Iterable[TimedFrame], start: Fraction, end: Fraction | None
) -> Iterator[TimedFrame]:
    """The frames that are shown from ``start`` on and before ``end``."""
    held: TimedFrame | None = None
    for frame in frames:
        if end is not None and frame.start + _LITTLE * (frame.end - frame.start) >= end:
            break
        if frame.start < start:
            held = frame
            continue
        if held and _is_seen(held, start, frame.start):
            yield held
        held = None
        yield frame
    if held and _is_seen(held, start, held.end):
        yield held


def _is_seen(frame: TimedFrame, start: Fraction, following: Fraction) -> bool:
    """Whether more than a little of a frame that begins before ``start`` comes after it."""
    return following - start > _LITTLE * (following - frame.start)


def _at_rate(
    frames: Iterable[TimedFrame], rate: Fraction, origin: Fraction | None, limit: Fraction | None
) -> Iterator[TimedFrame]:
    before: TimedFrame | None = None
    number = 0
    for frame in frames:
        if origin is None:
            origin = frame.start
        if before:
            middle = (before.start + frame.start) / 2
            following = math.floor((middle - origin) * rate) + 1
            yield from itertools.repeat(before, max(0, following - number))
            number = max(number, following)
        before = frame
    if before is None or origin is None:
        return
    end = before.end if limit is None else min(limit, before.end)
    most = math.ceil((end - origin) * rate - _LITTLE)
    # once at least if it would be all
    yield from itertools.repeat(before, max(most - number, number == 0))


def _nothing(path: Path, part: Part, frames: int, seconds: Fraction) -> MediaError:
    if part.first is not None or part.stop is not None:
        length, start = f"{frames} frames", f"frame {part.first or 0}"
    else:
        length, start = f"{_shown(seconds)} seconds", f"{_shown(part.start or 0)} seconds"
    return MediaError(
        f"nothing is left of this video of {length} from {start} on",
        where=str(path),
        remedy="begin earlier",
    )


def _plain(rate: Fraction) -> Fraction:
    """An average without the rounding of a file's clock."""
    near = rate.limit_denominator(1001)
    whole = Fraction(round(rate))
    return whole if whole and abs(rate / whole - 1) < Fraction(1, 2000) else near


def _shown(number: float | Fraction) -> str:
    return f"{float(number):.6g}"
