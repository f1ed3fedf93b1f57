"""The conditioning edit: what it pastes where, by hand and by its properties."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from wan_plugin_ati.motion import edit
from wan_plugin_ati.temperature import scaled_temperature

FRAMES, HEIGHT, WIDTH = 5, 9, 13
SHARP = 5000.0
"""A temperature at which a spot is one cell."""


def conditioning(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    y = torch.randn(20, frames, height, width, generator=torch.Generator().manual_seed(1))
    y[:4] = 0
    y[:4, 0] = 1
    return y


def cell(row: int, column: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[float, float]:
    """Where the grid has that cell, in the coordinates of tracks."""
    shortest = min(height, width)
    x = (2 * column / (width - 1) - 1) * width / shortest
    return x, (2 * row / (height - 1) - 1) * height / shortest


def still(places: list[tuple[float, float]], frames: int = FRAMES, seen: float = 1.0) -> Tensor:
    """Tracks that stay where they are."""
    tracks = torch.zeros(4 * (frames - 1) + 1, len(places), 4)
    tracks[..., 1:3] = torch.tensor(places)
    tracks[..., 3] = seen
    return tracks


def test_the_first_frame_stays_and_its_mask_is_one() -> None:
    y = conditioning()
    y[:4] = 7.0  # what the mask was does not count
    edited = edit(y, still([cell(4, 6)]))
    assert torch.equal(edited[4:, 0], y[4:, 0])
    assert torch.equal(edited[:4, 0], torch.ones(4, HEIGHT, WIDTH))
    assert (y[:4] == 7).all(), "the conditioning that was given is not written to"


def test_a_point_in_the_middle_puts_its_feature_there_and_nowhere_else() -> None:
    y = conditioning()
    edited = edit(y, still([cell(4, 6)]), temperature=SHARP)
    torch.testing.assert_close(edited[4:, 1:, 4, 6], y[4:, :1, 4, 6].expand(-1, FRAMES - 1))
    elsewhere = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    elsewhere[4, 6] = False
    torch.testing.assert_close(edited[4:, 1:][..., elsewhere], y[4:, 1:][..., elsewhere])
    torch.testing.assert_close(edited[:4, 1:, 4, 6], torch.ones(4, FRAMES - 1))
    assert edited[:4, 1:][..., elsewhere].max() < 1e-20


@pytest.mark.parametrize(("down", "across"), [(0, 2), (2, 0), (-1, -3)])
def test_tracks_moved_by_cells_move_what_is_pasted_by_as_many(down: int, across: int) -> None:
    y = conditioning()
    y[4:, 1:] = 0
    here, there = still([cell(4, 6)]), still([cell(4, 6)])
    there[1:, :, 1:3] = torch.tensor(cell(4 + down, 6 + across))
    one, other = edit(y, here), edit(y, there)
    moved = other.roll((-down, -across), (2, 3))
    inner = (slice(None), slice(1, None), slice(3, 6), slice(4, 9))
    torch.testing.assert_close(moved[inner], one[inner], atol=2e-5, rtol=1e-4)
    assert float(one[inner].abs().max()) > 0.5


def test_hidden_tracks_change_nothing_but_the_mask_of_the_first_frame() -> None:
    y = conditioning()
    assert torch.equal(edit(y, still([cell(4, 6), cell(2, 2)], seen=-1.0)), y)


def test_one_seen_frame_of_four_is_enough_and_hidden_places_do_not_count() -> None:
    y = conditioning()
    tracks = still([cell(4, 6)])
    tracks[5:9, 0, 3] = -1  # the frames of latent frame 2
    tracks[5:9, 0, 1:3] = 99.0
    tracks[7, 0, 3], tracks[7, 0, 1:3] = 1, torch.tensor(cell(4, 6))
    torch.testing.assert_close(edit(y, tracks), edit(y, still([cell(4, 6)])), atol=1e-4, rtol=1e-3)


def test_the_strength_beside_a_point_is_that_of_the_formula() -> None:
    y = conditioning()
    shift = 2 / (HEIGHT - 1)
    edited = edit(y, still([cell(4, 6)]), temperature=3.0)
    x, _ = cell(4, 7)
    x -= cell(4, 6)[0]
    for row, column, distance in ((4, 6, 0.0), (5, 6, shift**2), (4, 7, x**2)):
        assert float(edited[0, 2, row, column]) == pytest.approx(math.exp(-3 * distance), rel=1e-4)


def test_a_start_on_the_border_has_half_of_its_feature_and_a_corner_a_quarter() -> None:
    y = torch.zeros(20, 2, HEIGHT, WIDTH)
    y[4:, 0] = 1
    x, top = cell(4, 6)[0], cell(0, 0)[1]
    for place, share in (((x, top), 0.5), (cell(0, 0), 0.25), (cell(4, 6), 1.0)):
        tracks = still([place], 2)
        tracks[1:, 0, 1:3] = torch.tensor(cell(4, 6))
        assert float(edit(y, tracks)[4, 1, 4, 6]) == pytest.approx(share, abs=1e-4)


def test_only_the_strongest_count_and_more_than_there_are_is_all() -> None:
    y = conditioning()
    tracks = still([cell(4, 6)] * 3)
    masks = {k: float(edit(y, tracks, topk=k)[0, 1, 4, 6]) for k in (1, 2, 3, 10)}
    assert masks == pytest.approx({1: 1.0, 2: 2.0, 3: 3.0, 10: 3.0}, rel=1e-4)
    far = still([cell(4, 6), cell(0, 0)])
    torch.testing.assert_close(edit(y, far, topk=1), edit(y, far, topk=2), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 4, 9, 21, 31])
def test_clips_of_any_length(frames: int) -> None:
    y = conditioning(frames)
    edited = edit(y, still([cell(4, 6)], frames))
    assert edited.shape == y.shape
    assert float(edited[:4, :, 4, 6].min()) > 0.99


def test_no_tracks_are_plain_image_to_video() -> None:
    y = conditioning()
    assert torch.equal(edit(y, torch.zeros(17, 0, 4)), y)


@pytest.mark.parametrize("shape", [(16, 1, 4), (17, 1, 3), (21, 1, 4)])
def test_tracks_of_another_clip_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not belong"):
        edit(conditioning(), torch.zeros(shape))


def test_half_precision_is_computed_in_float32() -> None:
    y = conditioning().bfloat16()
    edited = edit(y, still([cell(4, 6)]))
    assert edited.dtype == torch.float32
    torch.testing.assert_close(edited, edit(y.float(), still([cell(4, 6)])))


class _Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that anything returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result._base is None:
            self.elements = max(self.elements, result.numel())
        return result


def test_no_tensor_is_larger_than_one_latent_frame_of_each_track() -> None:
    frames, height, width, tracks = 9, 30, 52, 200
    y = conditioning(frames, height, width)
    told = torch.rand(4 * (frames - 1) + 1, tracks, 4) * 2 - 1
    with _Largest() as seen:
        edit(y, told)
    assert seen.elements == height * width * tracks > y.numel()


@pytest.mark.parametrize(
    ("height", "width", "temperature"),
    [(60, 104, 220.0), (104, 60, 220.0), (12, 12, 220 * (11 / 59) ** 2), (1, 9, 0.0)],
)
def test_scaled_temperature(height: int, width: int, temperature: float) -> None:
    assert scaled_temperature(height, width) == pytest.approx(temperature)


def test_a_scaled_temperature_reaches_the_same_number_of_cells() -> None:
    beside = []
    for size in (12, 60):
        x = torch.linspace(-1, 1, size)
        beside.append(math.exp(-scaled_temperature(size, size) * float(x[1] - x[0]) ** 2))
    assert beside[0] == pytest.approx(beside[1], rel=1e-3)
    assert beside[1] == pytest.approx(0.78, abs=0.01)
