"""Which frames are taken, how they are brought to a size, and the silhouette in noise."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from wan_plugin_unilumos.choosing import at_rate, frame_indices, held, picked
from wan_plugin_unilumos.fitting import covering, fitted_frame, fitted_picture
from wan_plugin_unilumos.silhouette import fill, filled


@pytest.mark.parametrize(
    ("source", "indices"),
    [
        # as long as the result: all; twice as long: every second, in the middle; shorter: some twice
        ((9, 8.0, 9, 8.0), tuple(range(9))),
        ((5, 8.0, 9, 8.0), (0, 0, 1, 2, 2, 2, 3, 4, 4)),
        ((1, 25.0, 5, 8.0), (0, 0, 0, 0, 0)),
    ],
)
def test_the_makers_rule(source: tuple[int, float, int, float], indices: tuple[int, ...]) -> None:
    assert frame_indices(*source) == indices


@pytest.mark.parametrize("source_frames", [1, 7, 48, 97, 500])
@pytest.mark.parametrize("source_fps", [8.0, 23.976, 60.0])
def test_the_makers_rule_stays_inside(source_frames: int, source_fps: float) -> None:
    indices = frame_indices(source_frames, source_fps, 49, 12)
    assert len(indices) == 49
    assert list(indices) == sorted(indices)
    assert 0 <= indices[0] <= 10 and indices[-1] < source_frames


def test_a_source_that_claims_to_last_for_years_takes_no_memory() -> None:
    indices = frame_indices(200_000, 1e-9, 49, 12)
    assert indices == (0,) * 49 or (len(indices) == 49 and max(indices) < 200_000)


def test_at_a_rate_the_nearest_frame_is_taken() -> None:
    assert at_rate(9, 8, 8) == tuple(range(9))
    assert at_rate(9, 16, 8) == (0, 2, 4, 6, 8)
    assert at_rate(4, 8, 16) == (0, 1, 1, 2, 2, 3, 3)
    assert at_rate(1, 8, 24) == (0, 0)
    assert at_rate(13, 12, 8)[:5] == (0, 2, 3, 5, 6)


def test_picking_holds_one_frame_and_reads_no_further() -> None:
    class Frame:
        def __init__(self, number: int) -> None:
            self.number = number

    alive: list[weakref.ref[Frame]] = []

    def frames() -> Iterator[Frame]:
        for number in range(100):
            alive[:] = [one for one in alive if one() is not None]
            assert len(alive) <= 2
            frame = Frame(number)
            alive.append(weakref.ref(frame))
            yield frame
            del frame

    source = frames()
    assert [one.number for one in picked(source, (0, 3, 3, 7))] == [0, 3, 3, 7]
    assert next(source).number == 8


def test_the_last_frame_is_held() -> None:
    assert list(held([1, 2], 4)) == [1, 2, 2, 2]
    assert list(held(iter(range(10)), 3)) == [0, 1, 2]
    assert list(held([], 3)) == []


@pytest.mark.parametrize(
    ("own", "size", "whole"),
    [
        ((64, 36), (40, 24), (43, 24)),
        ((40, 50), (40, 24), (40, 50)),
        ((40, 24), (40, 24), (40, 24)),
        ((90, 17), (24, 16), (85, 16)),
        ((3, 1000), (32, 32), (32, 10667)),
        # 487.5, had 225 * 832 been divided by 384
        ((384, 225), (832, 480), (832, 487)),
        ((363, 176), (40, 24), (49, 24)),
    ],
)
def test_covering(own: tuple[int, int], size: tuple[int, int], whole: tuple[int, int]) -> None:
    assert covering(own, size) == whole


def test_frames_are_scaled_as_torch_does() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
    got = torch.from_numpy(fitted_frame(frame, (40, 32)))
    levels = torch.from_numpy(frame).permute(2, 0, 1)[None] / 255
    scaled = F.interpolate(levels, (32, 50), mode="bilinear", align_corners=False)
    want = (scaled[0, :, :, 5:45].permute(1, 2, 0) - 0.5) / 0.5
    torch.testing.assert_close(got, want, atol=2e-6, rtol=0)
    # what an earlier stage hands over is in -1…1 already
    signed = (frame.astype(np.float32) / 255 - 0.5) / 0.5
    torch.testing.assert_close(
        torch.from_numpy(fitted_frame(signed, (40, 32))), want, atol=2e-6, rtol=0
    )


def test_a_frame_of_the_right_size_stays() -> None:
    frame = np.random.default_rng(0).random((16, 24, 3), np.float32) * 2 - 1
    assert np.array_equal(fitted_frame(frame, (24, 16)), frame)


def test_the_middle_of_pictures_is_rounded_to_even() -> None:
    wide = np.zeros((8, 11, 3), np.uint8)
    wide[:, 2] = 255
    # 3 columns go: of frames 1 on the left, of pictures round(1.5) = 2
    assert fitted_frame(wide, (8, 8))[0, 1, 0] == 1
    assert fitted_picture(wide, (8, 8))[0, 0, 0] == 1


def noisy(seed: int) -> np.ndarray:
    ground = np.random.default_rng(3).normal((-0.4, 0.0, 0.3), (0.1, 0.2, 0.3), (200, 200, 3))
    mask = np.zeros((200, 200), np.float32)
    mask[:, :100] = 1
    frames = filled([ground.astype(np.float32)] * 2, [mask] * 2, seed)
    return np.stack(list(frames))


def test_the_subject_becomes_noise_like_its_surroundings() -> None:
    frames = noisy(0)
    ground = np.random.default_rng(3).normal((-0.4, 0.0, 0.3), (0.1, 0.2, 0.3), (200, 200, 3))
    assert np.array_equal(frames[0, :, 100:], ground.astype(np.float32)[:, 100:])
    grain, seen = frames[:, :, :100], ground[:, 100:]
    for channel in range(3):
        inside = grain[..., channel]
        # 20 000 samples: a standard error of 0.7 % of the spread
        assert abs(inside.mean() - seen[..., channel].mean()) < 0.03 * seen[..., channel].std()
        assert abs(inside.std() / seen[..., channel].std() - 1) < 0.03
    pairs = [
        (grain[0], grain[1]),
        (grain[0, ..., 0], grain[0, ..., 1]),
        (grain[0, :-1], grain[0, 1:]),
    ]
    for one, other in pairs:
        spread = [(g - g.mean(axis=(0, 1))).ravel() for g in (one, other)]
        assert abs(np.corrcoef(*spread)[0, 1]) < 0.03


def test_the_noise_follows_the_seed_and_nothing_else() -> None:
    assert np.array_equal(noisy(5), noisy(5))
    assert not np.array_equal(noisy(5), noisy(6))
    torch.manual_seed(0)
    assert np.array_equal(noisy(5), noisy(5))
    # it is not the noise that the latents begin with
    generator = torch.Generator().manual_seed(5)
    start = torch.randn(200, 200, 3, generator=generator).numpy()
    assert abs(np.corrcoef(noisy(5)[0, :, :100].ravel(), start[:, :100].ravel())[0, 1]) < 0.02


def test_noise_is_cut_off_at_black_and_white() -> None:
    frame = np.where(np.arange(32)[None, :, None] % 2, 1.0, -1.0).astype(np.float32)
    frame = np.broadcast_to(frame, (32, 32, 3)).copy()
    mask = np.zeros((32, 32), bool)
    mask[:16] = True
    got = fill(frame, mask, np.random.default_rng(0).normal(size=frame.shape).astype(np.float32))
    assert got.min() == -1 and got.max() == 1
    levels = (got[:16] + 1) * 127.5
    assert np.abs(levels - np.rint(levels)).max() < 1e-4


def test_masks_of_all_and_of_nothing() -> None:
    frame = np.random.default_rng(0).random((8, 8, 3), np.float32)
    noise = np.random.default_rng(1).normal(size=(8, 8, 3)).astype(np.float32)
    assert fill(frame, np.zeros((8, 8), bool), noise) is frame
    all_of_it = fill(frame, np.ones((8, 8), bool), noise)
    assert np.isfinite(all_of_it).all() and not np.array_equal(all_of_it, frame)
