"""The frames of a video with the times at which they are shown, upright, decoded one after another."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from av.error import FFmpegError

from wan_core.contract.errors import MediaError
from wan_core.media.gif import scan_gif
from wan_core.media.reading import ToRgb, opened_video, probe, reader_of
from wan_core.media.sequence import check_sequence, read_sequence, sequence_at
from wan_core.media.webp import read_webp, scan_webp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FAR = 5
"""Seconds from which on it pays to jump to a part of a video instead of decoding all before it."""


@attrs.define(eq=False)
class TimedFrame:
    """A frame and when it is shown.

    Attributes:
        index: its number, or -1 where the video was entered in the middle.
        start, end: in seconds from the video's first frame.
        notes: what reading the video changes or leaves out, for the user.
    """

    index: int
    start: Fraction
    end: Fraction
    _make: Callable[[], NDArray[np.uint8]] | None
    _made: NDArray[np.uint8] | None = None
    notes: tuple[str, ...] = ()

    def picture(self) -> NDArray[np.uint8]:
        """``[height, width, 3]`` uint8, upright. Frames that nobody asks for are not converted."""
        if self._made is None:
            assert self._make is not None
            self._made, self._make = self._make(), None
        return self._made


def timed_frames(path: Path, near: Fraction = Fraction(0)) -> Iterator[TimedFrame]:
    """The frames of a video in order, at constant memory.

    Args:
        path: as for :func:`~wan_core.media.probe`.
        near: frames before this time are not wanted, and left out where the file can be entered later.

    Raises:
        MediaError: as for :func:`~wan_core.media.read_frames`.
    """
    found = False
    for frame in _frames(path, near):
        found = True
        yield frame
    if not found:
        raise MediaError("this file has no video in it", where=str(path))


def frame_times(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Start and end of every frame in seconds; nothing is decoded.

    Raises:
        MediaError: as for :func:`~wan_core.media.probe`.
    """
    match reader_of(path):
        case "png":
            rate = _rate_of_sequence(path)
            sequence = sequence_at(path)
            check_sequence(sequence)
            count = sequence.frames
            return [(i / rate, (i + 1) / rate) for i in range(count)]
        case "gif":
            return _after_one_another(scan_gif(path).durations, 100)
        case "webp":
            return _after_one_another(scan_webp(path).durations, 1000)
    with opened_video(path) as (container, stream):
        packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
        unit, rate = stream.time_base, _rate(stream)
        if any(p.pts is None for p in packets):
            return [(i / rate, (i + 1) / rate) for i in range(len(packets))]
        shown = sorted((p.pts, p.duration or 0) for p in packets)
        if not shown:
            return []
        zero = shown[0][0] if stream.start_time is None else stream.start_time
        times = []
        for (pts, duration), following in zip(shown, [*shown[1:], None], strict=True):
            start = max((pts - zero) * unit, Fraction(0))
            end = (
                (following[0] - zero) * unit if following else start + (duration * unit or 1 / rate)
            )
            times.append((start, max(start, end)))
        return times


def _frames(path: Path, near: Fraction) -> Iterator[TimedFrame]:
    match reader_of(path):
        case "png":
            rate = _rate_of_sequence(path)
            for index, picture in enumerate(read_sequence(sequence_at(path))):
                yield TimedFrame(index, index / rate, (index + 1) / rate, None, picture)
        case "webp":
            times = _after_one_another(scan_webp(path).durations, 1000)
            for index, (picture, (start, end)) in enumerate(
                zip(read_webp(path), times, strict=False)
            ):
                yield TimedFrame(index, start, end, None, picture)
        case _:
            yield from _until_the_next(_decoded(path, near))


def _until_the_next(frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
    """Each frame is shown until the next one; what files say of durations is in the order of decoding."""
    held = next(frames, None)
    for frame in frames:
        assert held is not None
        held.end = frame.start
        yield held
        held = frame
    if held is not None:
        yield held


def _decoded(path: Path, near: Fraction) -> Iterator[TimedFrame]:
    if near >= _FAR:
        frames = _decode(path, near)
        first = next(frames, None)
        if first is not None and first.start <= near:
            yield first
            yield from frames
            return
        frames.close()
    yield from _decode(path, Fraction(0))


def _decode(path: Path, near: Fraction) -> Generator[TimedFrame, None, None]:
    with opened_video(path) as (container, stream):
        to_rgb, rate = ToRgb(str(path)), _rate(stream)
        zero, before = stream.start_time, Fraction(0)
        if near:
            if zero is None:
                return
            try:
                container.seek(int(near / stream.time_base) + zero, stream=stream, backward=True)
            except (FFmpegError, OSError):
                return
        for index, frame in enumerate(container.decode(stream)):
            if frame.pts is None:
                start = index / rate
            else:
                zero = frame.pts if zero is None else zero
                # times that jump back are of a damaged or joined file
                start = max((frame.pts - zero) * frame.time_base, before)
            length = getattr(frame, "duration", 0) * (frame.time_base or 0) or 1 / rate
            before = start
            turns = round(getattr(frame, "rotation", 0) / 90) % 4
            make = partial(_upright, to_rgb, frame, index, turns)
            number = -1 if near else index
            yield TimedFrame(number, start, start + length, make, notes=_notes(stream, bool(turns)))


def _upright(to_rgb: ToRgb, frame: Any, index: int, turns: int) -> NDArray[np.uint8]:
    """``turns`` quarters against the clock, as the container says."""
    picture = to_rgb(frame, index)
    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _notes(stream: Any, turned: bool) -> tuple[str, ...]:
    notes = ["the video is turned as its file says"] if turned else []
    shape = stream.sample_aspect_ratio
    if shape and shape != 1:
        notes.append(
            f"the video's pixels are not square ({shape.numerator}:{shape.denominator}), but are taken as if "
            "they were"
        )
    return tuple(notes)


def _after_one_another(durations: list[int], clock: int) -> list[tuple[Fraction, Fraction]]:
    times, now = [], Fraction(0)
    for duration in durations:
        then = now + Fraction(duration, clock)
        times.append((now, then))
        now = then
    return times


def _rate(stream: Any) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate) if rate and rate > 0 else Fraction(25)


def _rate_of_sequence(path: Path) -> Fraction:
    """Frames per second of a folder of pictures, which may not say; then a second each."""
    return probe(path).fps or Fraction(1)
