"""Comparing two videos, and sheets of labelled rows."""

from __future__ import annotations

import io
import math
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import moving, noise

from wan_core.contract.errors import MediaError
from wan_core.media import Comparison, compare_videos, labelled_sheet, write_video


def test_the_same_frames_are_equal_whatever_the_format(tmp_path: Path) -> None:
    for name in ("a.mkv", "a/%05d.png"):
        write_video(tmp_path / name, [noise(5)], 16)
    equal = Comparison(5, True, None, 0, None)
    assert compare_videos(tmp_path / "a.mkv", tmp_path / "a") == equal


def test_one_pixel_is_found_and_measured(tmp_path: Path) -> None:
    pictures = np.full((6, 10, 20, 3), 100, np.uint8)
    write_video(tmp_path / "a.mkv", [pictures], 16)
    pictures[3, 4, 5, 1] = 93
    pictures[5, 0, 0] = (110, 100, 95)
    write_video(tmp_path / "b.mkv", [pictures], 16)
    found = compare_videos(tmp_path / "a.mkv", tmp_path / "b.mkv")
    psnr = 10 * math.log10(255**2 / ((49 + 100 + 25) / (6 * 10 * 20 * 3)))
    assert found == Comparison(6, False, 3, 10, pytest.approx(psnr))
    assert compare_videos(tmp_path / "b.mkv", tmp_path / "a.mkv") == found


def test_other_lengths_and_sizes_are_told_in_words(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", [noise(5)], 16)
    write_video(tmp_path / "b.mkv", [noise(8)[:7]], 16)
    write_video(tmp_path / "c.mkv", [noise(5, 32, 40)], 16)
    write_video(tmp_path / "d.mkv", [255 - noise(5)[:4]], 16)
    found = compare_videos(tmp_path / "a.mkv", tmp_path / "b.mkv")
    words = "the first has 5 frames, the second 7"
    assert found == Comparison(5, False, 5, 0, None, words)
    found = compare_videos(tmp_path / "a.mkv", tmp_path / "c.mkv")
    assert found == Comparison(0, False, 0, 0, None, "the first is 32x32, the second 40x32")
    found = compare_videos(tmp_path / "d.mkv", tmp_path / "a.mkv")
    assert (found.frames, found.first_difference, found.max_difference) == (4, 0, 255)
    assert found.mismatch == "the first has 4 frames, the second 5"
    with pytest.raises(MediaError, match="no such file"):
        compare_videos(tmp_path / "a.mkv", tmp_path / "none.mkv")


def test_loss_is_measured(tmp_path: Path) -> None:
    for name in ("a.mkv", "a.mp4", "a.gif"):
        write_video(tmp_path / name, moving(10, 64, 64), 16)
    mp4, gif = (compare_videos(tmp_path / "a.mkv", tmp_path / n) for n in ("a.mp4", "a.gif"))
    assert mp4.psnr is not None and gif.psnr is not None
    assert 44 < mp4.psnr < 60
    assert 28 < gif.psnr < 40


def test_comparing_takes_constant_memory(tmp_path: Path) -> None:
    def chunks() -> Iterator[np.ndarray]:
        picture = noise(1, 64, 64)
        for index in range(200):
            yield np.roll(picture, index, axis=2)

    write_video(tmp_path / "a.mkv", chunks(), 16)
    tracemalloc.start()
    try:
        assert compare_videos(tmp_path / "a.mkv", tmp_path / "a.mkv").equal
        assert tracemalloc.get_traced_memory()[1] < 64 * 64 * 3 * 40
    finally:
        tracemalloc.stop()


def sheet(*arguments: object, **options: object) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(labelled_sheet(*arguments, **options))))  # type: ignore


def solid(height: int, width: int, *colour: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_rows_of_different_sizes_stand_below_their_labels() -> None:
    red, blue = solid(80, 100, 255, 0, 0), solid(320, 200, 0, 0, 255)
    picture = sheet([("one", [red, red]), ("two", [blue] * 3), ("none", [])], lines=1)
    is_red = (picture == (255, 0, 0)).all(-1)
    is_blue = (picture == (0, 0, 255)).all(-1)
    # not scaled up, and scaled down to a height of 160
    assert is_red.sum() == 2 * 80 * 100
    assert is_blue.sum() == 3 * 160 * 100
    red_rows, blue_rows = (np.flatnonzero(mask.any(1)) for mask in (is_red, is_blue))
    assert red_rows[0] > 10
    assert blue_rows[0] - red_rows[-1] > 15
    for above in (picture[: red_rows[0]], picture[red_rows[-1] + 1 : blue_rows[0]]):
        assert (above < 100).any()  # a label


LABELS = [
    "plain",
    "",
    "一只猫在草地上奔跑" * 30,
    "😀👩‍👩‍👧 emoji",
    "nul \0 esc \x1b[2J bell \a\nnew line\r\ttab",
    "\ud800 half, \u202e turned, \ufeff, \U000e0001, \u0300\u0301 alone",
    "שלום عليكم",
    "w" * 100_000,
    "word " * 20_000,
    "%s {} \\ <b>",
]


@pytest.mark.parametrize("label", LABELS)
def test_any_text_is_a_label(label: str) -> None:
    picture = sheet([(label, [solid(20, 30, 255, 0, 0)])])
    assert picture.shape[0] == 2 * 18 + 8 + 20 or picture.shape[0] == 18 + 8 + 20 or not label
    assert picture.shape[1] == 320
    assert (picture == (255, 0, 0)).all(-1).sum() == 600


def test_a_long_label_takes_its_lines_and_ends_with_an_ellipsis() -> None:
    from wan_core.media.sheet import _wrapped

    class Font:
        def getlength(self, text: str) -> int:
            return 10 * len(text)

    def wrapped(label: str, lines: int) -> list[str]:
        return _wrapped(label, lines, 104, Font())

    assert wrapped("short", 2) == ["short"]
    assert wrapped("one two three four", 2) == ["one two", "three four"]
    assert wrapped("one two three four five", 2) == ["one two", "three fou…"]
    assert wrapped("abcdefghijklmnopq", 2) == ["abcdefghij", "klmnopq"]
    assert wrapped("one two three", 1) == ["one two t…"]
    assert wrapped(" a\0b \n\x1b c ", 1) == ["a?b ? c"]
    assert wrapped("  ", 2) == []
    assert wrapped("ß e\u0301ü Ａ 圆", 1) == ["ss eu A 圆"]


@pytest.mark.parametrize(
    ("rows", "frames", "height", "width"),
    [(1, 300, 48, 64), (300, 1, 48, 64), (40, 40, 480, 832), (3, 2, 9000, 10), (3, 2, 10, 9000)],
)
def test_a_sheet_stays_within_its_bounds(rows: int, frames: int, height: int, width: int) -> None:
    frame = solid(height, width, 255, 0, 0)
    picture = sheet([(f"row {n}", [frame] * frames) for n in range(rows)])
    assert max(picture.shape[:2]) <= 4000
    shown = (picture == (255, 0, 0)).all(-1).any(1)
    starts = int((shown[1:] & ~shown[:-1]).sum())
    assert starts == min(rows, (4000 - 44) // (44 + 24))


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        labelled_sheet([])
