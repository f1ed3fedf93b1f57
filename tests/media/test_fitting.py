"""Fitting pictures: the numbers of torch and Pillow, and sizes of the published pipelines."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from wan_core.contract.errors import MediaError
from wan_core.media.fitting import (
    Kernel,
    Mode,
    fit,
    fit_signed,
    official_last_frame,
    resample,
    signed,
)
from wan_core.media.sizes import area_size, best_size, similar, vace_picking

SIZES = [
    ((37, 53), (20, 31)),
    ((20, 31), (64, 77)),
    ((16, 16), (48, 16)),
    ((100, 9), (7, 40)),
    ((5, 5), (1, 1)),
    ((1, 1), (6, 4)),
    ((333, 211), (64, 96)),
]
KERNELS: list[tuple[Kernel, bool]] = [
    ("nearest", False),
    ("nearest-exact", False),
    ("bilinear", False),
    ("bilinear", True),
    ("bicubic", False),
    ("bicubic", True),
]


def by_torch(x: np.ndarray, height: int, width: int, kernel: str, antialias: bool) -> np.ndarray:
    tensor = torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None]
    more = {} if "nearest" in kernel else {"align_corners": False, "antialias": antialias}
    done = F.interpolate(tensor, (height, width), mode=kernel, **more)  # type: ignore[arg-type]
    return done[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("kernel", "antialias"), KERNELS)
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_resampling_is_that_of_torch(
    size: tuple[int, int], wanted: tuple[int, int], kernel: Kernel, antialias: bool
) -> None:
    x = np.random.default_rng(0).random((*size, 3), np.float32) * 2 - 1
    got = fit(x, wanted[1], wanted[0], kernel=kernel, antialias=antialias)
    assert got.dtype == np.float32
    tolerance = 0 if "nearest" in kernel else 1e-5
    assert np.abs(got - by_torch(x, *wanted, kernel, antialias)).max() <= tolerance


@pytest.mark.parametrize(("kernel", "tolerance"), [("bilinear", 5e-7), ("bicubic", 3e-6)])
def test_resampling_is_as_close_where_places_are_large(kernel: Kernel, tolerance: float) -> None:
    x = np.random.default_rng(0).random((8, 3000, 1), np.float32) * 2 - 1
    got = resample(x, 1234, 8, kernel)
    assert np.abs(got - by_torch(x, 8, 1234, kernel, False)).max() <= tolerance


def test_every_nearest_pixel_is_that_of_torch() -> None:
    for size in range(1, 60, 3):
        x = np.arange(size, dtype=np.float32)[None, :, None]
        for wanted in range(1, 90):
            for kernel in ("nearest", "nearest-exact"):
                assert np.array_equal(
                    fit(x, wanted, 1, kernel=kernel),  # type: ignore[arg-type]
                    by_torch(x, 1, wanted, kernel, False),
                )


@pytest.mark.parametrize("kernel", ["pillow-bilinear", "pillow-bicubic", "pillow-lanczos"])
def test_resampling_is_that_of_pillow(kernel: Kernel) -> None:
    x = np.random.default_rng(0).integers(0, 256, (2, 30, 50, 3), dtype=np.uint8)
    way = Image.Resampling[kernel.partition("-")[2].upper()]
    got = fit(x, 20, 13, kernel=kernel)
    for frame, done in zip(x, got, strict=True):
        assert np.array_equal(done, np.asarray(Image.fromarray(frame).resize((20, 13), way)))
    grey = fit(x[0, :, :, :1], 20, 13, kernel=kernel)
    assert np.array_equal(
        grey[..., 0], np.asarray(Image.fromarray(x[0, :, :, 0]).resize((20, 13), way))
    )
    with pytest.raises(ValueError, match="8-bit"):
        fit(signed(x), 20, 13, kernel=kernel)


def test_levels_are_rounded_and_floats_are_not() -> None:
    edge = np.zeros((4, 40, 3), np.uint8)
    edge[:, 20:] = 255
    floats = fit_signed(edge, 133, 8)
    assert floats.dtype == np.float32
    assert floats.max() > 1.01  # bicubic overshoots
    assert np.abs(floats - by_torch(signed(edge), 8, 133, "bicubic", False)).max() < 1e-5
    levels = fit(edge, 133, 8)
    assert levels.dtype == np.uint8
    assert np.array_equal(levels, np.rint((floats.clip(-1, 1) + 1) * 127.5).astype(np.uint8))
    assert set(signed(np.array([0, 255], np.uint8)).tolist()) == {-1, 1}


def numbered(height: int, width: int) -> np.ndarray:
    """Every pixel's value says where it was: 100 * row + column."""
    rows, columns = np.mgrid[:height, :width]
    return (100 * rows + columns).astype(np.float32)[:, :, None]


MODES: list[tuple[Mode, tuple[int, int], tuple[int, int], tuple[float, ...]]] = [
    # mode, picture, wanted, values at the corners: upper left, upper right, lower left, lower right
    ("crop", (6, 8), (4, 4), (102, 105, 402, 405)),
    ("crop", (4, 4), (6, 8), (-9, -9, -9, -9)),
    ("crop", (7, 9), (4, 4), (102, 105, 402, 405)),
    ("crop", (2, 8), (4, 4), (-9, -9, -9, -9)),
    ("cover", (6, 8), (6, 4), (2, 5, 502, 505)),
    ("cover", (8, 6), (4, 6), (200, 205, 500, 505)),
    ("contain", (4, 8), (8, 8), (-9, -9, -9, -9)),
    ("contain", (8, 4), (8, 4), (0, 3, 700, 703)),
    ("stretch", (4, 8), (4, 4), (0, 6, 300, 306)),
]


@pytest.mark.parametrize(("mode", "size", "wanted", "corners"), MODES)
def test_what_stays_of_a_picture(
    mode: Mode, size: tuple[int, int], wanted: tuple[int, int], corners: tuple[float, ...]
) -> None:
    got = fit(numbered(*size), wanted[1], wanted[0], mode, kernel="nearest", background=-9)
    assert got.shape == (*wanted, 1)
    assert (got[0, 0, 0], got[0, -1, 0], got[-1, 0, 0], got[-1, -1, 0]) == corners
    inside = got[got != -9]
    assert inside.size
    if mode == "contain" and size != wanted:
        assert inside.size == wanted[0] * wanted[1] // 2
        assert got[2, 0, 0] == 0
        assert got[1, 0, 0] == -9


@pytest.mark.parametrize("mode", ["stretch", "cover", "contain", "crop"])
def test_any_size_fits_any_size(mode: Mode) -> None:
    sides = (1, 2, 3, 7, 16, 49, 83)
    for height, width, high, wide in np.random.default_rng(0).choice(sides, (200, 4)):
        x = np.ones((2, height, width, 3), np.float32)
        got = fit(x, wide, high, mode, kernel="bilinear", background=1)
        assert got.shape == (2, high, wide, 3)
        assert np.allclose(got, 1)


def test_an_odd_rest_is_cut_down_or_to_even() -> None:
    x = numbered(4, 7)
    down, even = (
        fit(x, 4, 4, "crop", middle=middle)[0, 0, 0]  # type: ignore[arg-type]
        for middle in ("down", "even")
    )
    assert (down, even) == (1, 2)


def test_a_last_frame_of_other_proportions() -> None:
    """Upstream cuts to the scaled size with its sides exchanged; meant is to cover the first frame."""
    last = numbered(40, 60)
    assert official_last_frame(last, 60, 40) is last
    got = official_last_frame(last, 30, 40, background=-9)
    # scaled by max(30 / 60, 40 / 40) = 1: 40 wide and 60 high are cut out of 60 x 40
    assert got.shape == (60, 40, 1)
    assert (got[9, 0, 0], got[10, 0, 0], got[49, 39, 0], got[50, 0, 0]) == (-9, 10, 3949, -9)
    meant = fit(last, 30, 40, "cover", kernel="nearest")
    assert (meant.shape, meant[0, 0, 0], meant[-1, -1, 0]) == ((40, 30, 1), 15, 3944)


def test_a_large_picture_never_becomes_floats_as_a_whole() -> None:
    import tracemalloc

    x = np.zeros((3000, 4000, 3), np.uint8)
    tracemalloc.start()
    got = fit_signed(x, 832, 480)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.shape == (480, 832, 3)
    assert peak < 3 * 3000 * 832 * 3 * 4 < x.size * 4


I2V = [
    # picture, pixels, video
    ((832, 480), 480 * 832, (832, 464)),
    ((832, 480), 720 * 1280, (1248, 720)),
    ((1280, 720), 720 * 1280, (1280, 720)),
    ((720, 1280), 480 * 832, (464, 832)),
    ((1920, 817), 480 * 832, (960, 400)),
    ((512, 512), 480 * 832, (624, 624)),
]
TI2V = [
    ((1280, 720), 704 * 1280, (1248, 704)),
    ((720, 1280), 704 * 1280, (704, 1248)),
    ((512, 512), 704 * 1280, (960, 928)),
    ((1000, 700), 480 * 832, (736, 512)),
    ((1920, 817), 480 * 832, (960, 416)),
]


def test_sizes_are_those_of_the_published_pipelines() -> None:
    for picture, area, video in I2V:
        assert area_size(*picture, area) == video
    for picture, area, video in TI2V:
        assert best_size(*picture, area) == video
    random = np.random.default_rng(0)
    for width, height in random.integers(16, 4000, (200, 2)).tolist():
        for choose, multiple in ((area_size, 16), (best_size, 32)):
            try:
                wide, high = choose(width, height, 480 * 832)
            except MediaError:
                assert max(width / height, height / width) > 80
                continue
            assert wide * high <= 480 * 832
            assert wide % multiple == high % multiple == 0


@pytest.mark.parametrize("choose", [area_size, best_size])
def test_proportions_without_a_size(choose: object) -> None:
    for size in ((16_000, 4), (4, 16_000)):
        with pytest.raises(
            MediaError, match=r"is too narrow for a video .*; cut it, or state width"
        ):
            choose(*size, 480 * 832)  # type: ignore[operator]


def test_what_vace_takes_of_a_video() -> None:
    def times(count: int, fps: float) -> list[tuple[float, float]]:
        ends = [float(np.float32(index) / np.float32(fps)) for index in range(count + 1)]
        return list(itertools.pairwise(ends))

    same = vace_picking(1280, 720, times(81, 16), 32760, 480 * 832)
    assert (same.frames, same.size) == (tuple(range(81)), (832, 480))
    assert same.fps == pytest.approx(16.09937858581543, rel=1e-6)
    fewer = vace_picking(720, 1280, times(120, 24), 32760, 480 * 832)
    assert fewer.frames[:8] == (0, 1, 2, 4, 5, 7, 8, 10)
    assert (fewer.frames[-1], len(fewer.frames), fewer.size) == (119, 81, (464, 848))
    assert fewer.fps == pytest.approx(16.26778221130371, rel=1e-6)
    single = vace_picking(640, 480, times(1, 16), 32760, 480 * 832)
    assert (single.frames, single.size) == ((0,), (640, 480))
    for width, height, count in ((8, 480, 9), (640, 480, 0)):
        with pytest.raises(MediaError, match="too small"):
            vace_picking(width, height, times(count, 16), 32760, 480 * 832)


def test_proportions_are_the_same_but_for_a_percent() -> None:
    assert similar((832, 480), (1664, 960))
    assert similar((832, 480), (832, 476))
    assert not similar((832, 480), (480, 832))
    assert not similar((832, 480), (832, 464))


def test_the_numbers_do_not_need_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys, wan_core.media.fitting, wan_core.media.masks, wan_core.media.sizes\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_source_stays_as_it_was() -> None:
    x = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    before = x.copy()
    fit(x, 4, 20, "contain")
    resample(x, 9, 9, "bicubic")
    assert np.array_equal(x, before)
