"""Every format: what comes back of frames, rates and comments, and at what memory."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
from clips import NAMES, contents, moving, noise

from wan_core.contract.errors import MediaError
from wan_core.media import check_target, exact_rate, probe, read_frames, write_video
from wan_core.media.clock import rate_of, tick
from wan_core.media.formats import FORMATS, MAX_COMMENT

COMMENT = '[output]\npath = "größer.mp4"\r\n\tprompt = """圆 😀 <&\x7f>"""\n'
# the largest and the mean error of a pixel of `moving`
ERRORS = {".mp4": (9, 1), ".webm": (24, 1.6), ".webp": (14, 1.6), ".gif": (64, 5.5)}


def suffix(name: str) -> str:
    return Path(name).suffix


def test_every_format_is_tested() -> None:
    assert {suffix(name) for name in NAMES} == set(FORMATS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("frames", "height", "width", "fps"),
    [(1, 2, 2, 16), (1, 33, 15, 24), (20, 64, 80, 16), (12, 47, 33, 12.5), (9, 34, 50, 23.976)],
)
def test_frames_come_back(
    tmp_path: Path, name: str, frames: int, height: int, width: int, fps: float
) -> None:
    multiple = FORMATS[suffix(name)].size_multiple
    height, width = height // multiple * multiple, width // multiple * multiple
    written = write_video(tmp_path / name, moving(frames, height, width), fps)
    assert (written.path, written.frames) == (tmp_path / name, frames)
    info = probe(tmp_path / name)
    assert (info.frames, info.width, info.height, info.comment) == (frames, width, height, None)
    back = np.stack(list(read_frames(tmp_path / name)))
    assert back.shape == (frames, height, width, 3)
    difference = np.abs(back.astype(int) - np.concatenate(list(moving(frames, height, width))))
    largest, mean = ERRORS.get(suffix(name), (0, 0))
    if height > 2:  # a colour for four pixels is all that some formats have
        assert difference.max() <= largest
        assert difference.mean() <= mean
    clock = FORMATS[suffix(name)].clock
    half = 0.5001 / clock if clock else 1e-4
    assert info.duration == pytest.approx(frames / exact_rate(fps), abs=half)
    # nine frames don't tell 23.976 from 24 on a clock of hundredths
    if not (suffix(name) == ".gif" and fps == 23.976):
        assert info.fps == exact_rate(fps)


@pytest.mark.parametrize("name", [name for name in NAMES if suffix(name) not in ERRORS])
def test_lossless_formats_lose_nothing(tmp_path: Path, name: str) -> None:
    pictures = noise(5, 35, 53)
    write_video(tmp_path / name, [pictures], 16)
    assert np.array_equal(np.stack(list(read_frames(tmp_path / name))), pictures)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("comment", [COMMENT, "x", COMMENT * 1500, "圆" * (MAX_COMMENT // 3)])
def test_comments_come_back(tmp_path: Path, name: str, comment: str) -> None:
    write_video(tmp_path / name, moving(3, 16, 16), 16, comment=comment)
    assert probe(tmp_path / name).comment == comment
    assert len(list(read_frames(tmp_path / name))) == 3


@pytest.mark.parametrize("name", NAMES)
def test_the_same_frames_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    paths = [tmp_path / one / name for one in ("first", "second")]
    for path in paths:
        write_video(path, moving(20, 66, 98), 24, comment=COMMENT)
    assert contents(paths[0]) == contents(paths[1])


def remux(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as one, av.open(str(target), "w") as other:
        other.metadata.update(one.metadata)
        stream = other.add_stream_from_template(one.streams.video[0])
        for packet in one.demux(one.streams.video[0]):
            if packet.size:
                packet.stream = stream
                other.mux(packet)


@pytest.mark.parametrize(
    "chain", [("a.mp4", "b.mkv", "c.mp4"), ("a.webm", "b.mkv", "c.webm"), ("a.mkv", "b.mkv")]
)
def test_comments_outlive_another_container(tmp_path: Path, chain: tuple[str, ...]) -> None:
    comment = COMMENT * 1500
    write_video(tmp_path / chain[0], moving(4, 16, 16), 16, comment=comment)
    for before, after in pairwise(chain):
        remux(tmp_path / before, tmp_path / after)
    info = probe(tmp_path / chain[-1])
    assert (info.comment, info.frames) == (comment, 4)


@pytest.mark.parametrize(
    ("comment", "problem"),
    [
        ("a\0b", "holds the character NUL"),
        ("\ud800", "half a character"),
        ("圆" * (MAX_COMMENT // 3 + 1), "has 262146 bytes; use 262144 bytes at most"),
    ],
)
def test_comments_that_files_can_not_hold_are_refused_at_once(
    tmp_path: Path, comment: str, problem: str
) -> None:
    def never() -> Iterator[np.ndarray]:
        pytest.fail("a chunk was pulled")
        yield noise(1)

    with pytest.raises(MediaError, match=problem):
        write_video(tmp_path / "a.mp4", never(), 16, comment=comment)


def test_other_programs_find_the_comments(tmp_path: Path) -> None:
    """Pillow reads them where the standards of the formats put them."""
    from PIL import Image

    for name in ("a.gif", "a.webp", "a/%05d.png"):
        write_video(tmp_path / name, moving(2, 16, 16), 16, comment="größer 圆")
    with Image.open(tmp_path / "a.gif") as gif:
        gif.seek(1)
        with pytest.raises(EOFError):
            gif.seek(2)
    assert b"\x21\xfe\x0cgr\xc3\xb6\xc3\x9fer \xe5\x9c\x86\0;" in (tmp_path / "a.gif").read_bytes()
    with Image.open(tmp_path / "a.webp") as webp:
        value = webp.getexif().get_ifd(0x8769)[0x9286]
        assert value == b"UNICODE\0" + "größer 圆".encode("utf-16-be")
        assert (webp.n_frames, webp.info["loop"]) == (2, 0)
    for number in (0, 1):
        with Image.open(tmp_path / "a" / f"{number:05}.png") as png:
            assert (png.info["comment"], png.info["fps"]) == ("größer 圆", "16")


@pytest.mark.parametrize(("name", "unit"), [("a.gif", 10), ("a.webp", 1)])
def test_coarse_clocks_round_every_frame_by_itself(tmp_path: Path, name: str, unit: int) -> None:
    from PIL import Image

    write_video(tmp_path / name, moving(16, 16, 16), 16)
    with Image.open(tmp_path / name) as picture:
        durations = []
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            durations.append(picture.info["duration"])
    assert sum(durations) == 1000
    assert {abs(duration - 62.5) <= unit for duration in durations} == {True}
    ends = np.cumsum(durations)
    assert np.abs(ends - np.arange(1, 17) * 62.5).max() <= unit / 2


@pytest.mark.parametrize("clock", [100, 1000])
@pytest.mark.parametrize("rate", [8, 12, Fraction(25, 2), 15, 16, 24, 25, 30, 48, 50])
def test_the_rate_is_found_from_rounded_times(rate: Fraction | int, clock: int) -> None:
    for frames in (17, 81, 500):
        exact = Fraction(rate)
        times = [tick(index, exact, clock) for index in range(frames + 1)]
        durations = [after - before for before, after in pairwise(times)]
        assert rate_of(durations, clock) == exact


def test_times_of_no_rate_give_the_average() -> None:
    assert rate_of([10, 30, 20], 100) == 5
    assert rate_of([0, 0], 100) == rate_of([], 100) == 0


@pytest.mark.parametrize(("name", "fastest"), [("a.gif", 50), ("a.webp", 90), ("a.mkv", 1000)])
def test_rates_beyond_the_clock_are_refused(tmp_path: Path, name: str, fastest: int) -> None:
    check_target(tmp_path / name, fps=Fraction(fastest))
    with pytest.raises(MediaError, match=f"use {fastest} at most"):
        check_target(tmp_path / name, fps=Fraction(fastest) + 1)
    if fastest < 1000:
        with pytest.raises(MediaError, match=r"frames per second can't be kept in \."):
            write_video(tmp_path / name, [noise(1)], fastest + 1)


def test_few_colours_are_exact_in_a_gif(tmp_path: Path) -> None:
    colours = noise(1, 15, 16)[0]
    picture = np.repeat(np.repeat(colours, 20, axis=0), 20, axis=1)
    write_video(tmp_path / "a.gif", [picture[None]], 16)
    (frame,) = read_frames(tmp_path / "a.gif")
    assert np.array_equal(frame, picture)


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_the_frames(tmp_path: Path, name: str) -> None:
    """Five hundred frames, each unlike the others, in and out again."""
    process = psutil.Process()
    resident: list[int] = []

    def chunks() -> Iterator[np.ndarray]:
        picture = noise(1, 48, 64)[0] // 50 * 50  # few colours are fast in a GIF
        for index in range(500):
            resident.append(process.memory_info().rss)
            yield np.roll(picture, index, axis=1)[None]

    assert write_video(tmp_path / name, chunks(), 16).frames == 500
    # the frames are 4.6 MB; libvpx and x264 look ahead by some 60 of them
    assert max(resident[100:]) - resident[99] < 1.5e6
    reading = [process.memory_info().rss for _ in read_frames(tmp_path / name)]
    assert len(reading) == 500
    assert max(reading[100:]) - reading[99] < 1e6
