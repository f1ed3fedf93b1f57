"""Parts of videos at other rates, turned as the container says, at constant memory."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
import wave
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import film, number, numbered

from wan_core.contract.errors import MediaError
from wan_core.media import clips as clips_module
from wan_core.media.clips import Part, probe_clip, read_clip
from wan_core.media.timed import frame_times


def uneven(path: Path, starts: Sequence[int], clock: int = 1000) -> Path:
    """A video whose frames begin at these ticks."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=clock)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "yuv420p"
        stream.codec_context.time_base = Fraction(1, clock)
        for picture, start in zip(numbered(len(starts)), starts, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = start, Fraction(1, clock)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def taken(path: Path, part: Part) -> list[int]:
    """Numbers of the frames of a part; what planning counts is what comes."""
    chunks = list(read_clip(path, part))
    assert all(chunk.shape[0] == 1 and chunk.dtype == np.uint8 for chunk in chunks)
    assert probe_clip(path, part).frames == len(chunks)
    return [number(chunk[0]) for chunk in chunks]


PARTS: list[tuple[Part, Iterable[int]]] = [
    # of 48 frames at 16 a second
    (Part(), range(48)),
    (Part(first=5), range(5, 48)),
    (Part(first=5, stop=9), range(5, 9)),
    (Part(stop=3), range(3)),
    (Part(stop=999), range(48)),
    (Part(start=1), range(16, 48)),
    (Part(start=1, end=2), range(16, 32)),
    (Part(start=1.02, end=1.1), (16, 17)),
    (Part(end=0.5), range(8)),
    (Part(end=Fraction(1, 3)), range(6)),
    (Part(every=5), range(0, 48, 5)),
    (Part(first=2, every=5, most=3), (2, 7, 12)),
    (Part(most=4), range(4)),
    (Part(fps=16), range(48)),
    (Part(fps=8), range(0, 48, 2)),
    (Part(fps=4, every=2), range(0, 48, 8)),
    (Part(start=1, end=2, fps=4), (16, 20, 24, 28)),
    (Part(start=1, fps=4, most=2), (16, 20)),
    # 16 a second to 24: times 0, 2/3, 4/3, 2 … of a frame; the nearest
    (Part(fps=24, stop=4), (0, 1, 1, 2, 3, 3)),
    # to 10: times 0, 1.6, 3.2, 4.8, 6.4, 8 … of a frame
    (Part(fps=10, stop=10), (0, 2, 3, 5, 6, 8, 9)),
]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.gif", "a.webp", "a/%05d.png"])
def test_parts_are_the_same_of_every_container(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name)
    for part, frames in PARTS:
        assert taken(path, part) == list(frames), part
    info = probe_clip(path, Part(fps=8, every=2))
    assert (info.width, info.height, info.source_frames, info.steady) == (24, 16, 48, True)
    assert info.fps == 4
    assert info.seconds == pytest.approx(3, abs=0.02)
    assert probe_clip(path).fps == 16


def test_a_variable_rate_becomes_a_steady_one(tmp_path: Path) -> None:
    starts = [0, 40, 300, 310, 320, 900, 1000, 1030]
    path = uneven(tmp_path / "a.mp4", starts)
    info = probe_clip(path)
    assert (info.frames, info.steady) == (8, False)
    assert [round(float(start) * 1000) for start, _ in frame_times(path)] == starts
    got = taken(path, Part(fps=16))
    middles = [min(range(8), key=lambda n: abs(starts[n] - k * 62.5)) for k in range(len(got))]
    assert got == middles
    # the file says how long its last frame is shown
    assert len(got) == math.ceil(info.seconds * 16 - 0.1) >= 17
    assert taken(path, Part(start=0.5, end=0.95)) == [4, 5]
    # the frame that is on at the start of the part, for as long as it is nearest
    assert taken(path, Part(start=0.5, end=1, fps=10)) == [4, 4, 5, 5, 5]


def test_a_part_far_inside_is_entered_and_is_the_same(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv", "a.webm", "a.gif"):
        path = film(tmp_path / name, 240)
        assert taken(path, Part(start=11.5, end=12)) == list(range(184, 192))
        assert taken(path, Part(start=14, fps=8)) == list(range(224, 240, 2))


def test_of_two_equally_near_frames_the_earlier_counts(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 3)
    assert taken(path, Part(fps=32)) == [0, 0, 1, 1, 2, 2]
    assert taken(path, Part(fps=48)) == [0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_a_source_may_be_read_again(tmp_path: Path) -> None:
    source = read_clip(film(tmp_path / "a.mp4", 5))
    assert source.replayable
    assert len(list(source)) == len(list(source)) == 5


@pytest.mark.parametrize(("turns", "matrix"), [
    (0, (1, 0, 0, 1)),
    (1, (0, -1, 1, 0)),
    (2, (-1, 0, 0, -1)),
    (3, (0, 1, -1, 0)),
])  # fmt: skip
def test_phones_turn_their_videos(
    tmp_path: Path, turns: int, matrix: tuple[int, int, int, int]
) -> None:
    """``turns`` quarters against the clock are written into the container's matrix."""
    path = film(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    plain = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    a, b, c, d = (0x10000 * one for one in matrix)
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + turned + data[at + len(plain) :])
    (first, *_) = read_clip(path)
    upright = np.rot90(numbered(1)[0], turns)
    assert first.shape == (1, *upright.shape)
    assert np.abs(first[0].astype(int) - upright).max() < 20
    info = probe_clip(path)
    assert (info.height, info.width) == upright.shape[:2]
    assert info.notes == ("the video is turned as its file says",) * bool(turns)


def test_pixels_that_are_not_square_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    (note,) = probe_clip(path).notes
    assert note.startswith("the video's pixels are not square (16:15)")


MISTAKES: list[tuple[Part, str]] = [
    (Part(start=1, first=3), "said by seconds or by frames, not by both; leave one out"),
    (Part(end=1, stop=3), "said by seconds or by frames"),
    (Part(start=-1), "can't begin or end at -1 seconds"),
    (Part(start=float("nan")), "can't begin or end at nan seconds"),
    (Part(first=-2), "can't begin or end at -2 frames"),
    (Part(start=2, end=1), "ends at 1 seconds, but begins at 2"),
    (Part(first=4, stop=4), "ends at 4 frames, but begins at 4"),
    (Part(end=0), "ends at 0 seconds, but begins at 0"),
    (Part(fps=0), "0 frames per second is no frame rate"),
    (Part(fps=float("inf")), "inf frames per second is no frame rate"),
    (Part(every=0), "every is 0; use a number above 0"),
    (Part(most=0), "most is 0; use a number above 0"),
    (
        Part(start=7),
        "nothing is left of this video of 0.5 seconds from 7 seconds on; begin earlier",
    ),
    (Part(first=8), "nothing is left of this video of 8 frames from frame 8 on"),
]


@pytest.mark.parametrize(("part", "problem"), MISTAKES)
def test_parts_that_make_no_sense(tmp_path: Path, part: Part, problem: str) -> None:
    path = film(tmp_path / "a.mp4", 8)
    for read in (probe_clip, lambda *given: list(read_clip(*given))):
        with pytest.raises(MediaError, match=problem) as caught:
            read(path, part)
        assert str(caught.value).startswith(f"{path}: ")


NO_VIDEOS = {
    "empty.mp4": (b"", "this file is empty"),
    "text.mp4": (b"hello " * 99, "no video that can be read"),
    "text.txt": (b"hello " * 99, "no video in it"),
    "none.gif": (b"GIF89a\4\0\4\0\0\0\0\x3b", "no video"),
    "none.mp4": (None, "there is no such file"),
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_what_is_no_video(tmp_path: Path, name: str) -> None:
    content, problem = NO_VIDEOS[name]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (probe_clip, lambda path: list(read_clip(path))):
        with pytest.raises(MediaError, match=problem):
            read(path)
    with pytest.raises(MediaError, match="no sequence of numbered PNG"):
        probe_clip(tmp_path)


def test_sound_without_pictures_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 4000, "NONE", ""))
        sound.writeframes(bytes(8000))
    for read in (probe_clip, lambda path: list(read_clip(path))):
        with pytest.raises(MediaError, match="no video"):
            read(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv", "a.gif", "a.webp"])
def test_damage_anywhere_is_one_sentence_or_none(tmp_path: Path, name: str) -> None:
    path = film(tmp_path / name, 20)
    data, random, refused = path.read_bytes(), np.random.default_rng(0), 0
    for _ in range(40):
        changed = np.frombuffer(data, np.uint8).copy()
        for at in random.integers(0, len(data) if random.random() < 0.5 else 400, 3):
            changed[at] = random.integers(0, 256)
        cut = random.integers(0, len(data)) if random.random() < 0.3 else len(data)
        path.write_bytes(changed[:cut].tobytes())
        try:
            probe_clip(path, Part(fps=10))
            for _ in read_clip(path, Part(start=0.3, fps=24, most=300)):
                pass
        except MediaError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 3


def test_a_frame_that_lasts_for_years_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_module, "MAX_FRAMES", 1000)
    path = uneven(tmp_path / "a.mkv", [0, 40, 10**9])
    for read in (probe_clip, lambda *given: [None for _ in read_clip(*given)]):
        with pytest.raises(MediaError, match="more than 1000 frames; take a shorter one"):
            read(path, Part(fps=100))
    assert taken(path, Part(fps=1, most=2)) == [0, 1]


def test_a_file_whose_video_is_empty_has_none(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", 2)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(bytes.fromhex("1f43b675"))])
    for read in (probe_clip, lambda *given: list(read_clip(*given))):
        with pytest.raises(MediaError, match="no video"):
            read(path)


MEMORY = """
import resource, sys
from wan_core.media.clips import Part, read_clip
part = Part(fps=24, every=2, most=int(sys.argv[2]) if sys.argv[2] else None)
count = sum(1 for _ in read_clip(sys.argv[1], part))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_two_thousand_frames_take_the_memory_of_a_few(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 512, 288, "yuv420p"
        for index in range(2000):
            picture = np.full((288 * 3 // 2, 512), index % 250, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    figures = []
    for most in ("20", ""):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, path, most], capture_output=True, text=True, check=True
        )
        figures.append([int(figure) for figure in done.stdout.split()])
    (few, small), (many, large) = figures
    assert (few, many) == (20, 1000)
    # all 2000 would be 880 MB, those that are taken 440
    assert large - small < 60
