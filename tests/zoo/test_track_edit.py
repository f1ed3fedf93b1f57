"""Tracks in batches: pasted as the plugin pastes them, thinned at random, and where objects count."""

from __future__ import annotations

import pytest
import torch

from zoo import track_edit
from zoo.world.kinds import tracked

SIZE = (33, 96, 96)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("latent", "tracks", "topk"),
    [((9, 12, 12), 6, 2), ((3, 6, 10), 1, 2), ((2, 10, 6), 4, 3), ((2, 6, 6), 2, 2)],
)
def test_a_batch_is_edited_as_the_plugin_edits_each_clip(
    latent: tuple[int, int, int], tracks: int, topk: int
) -> None:
    motion = pytest.importorskip("wan_plugin_ati.motion")
    frames, height, width = latent
    y = torch.randn(3, 20, *latent, generator=generator())
    told = torch.randn(3, 4 * (frames - 1) + 1, tracks, 4, generator=generator(1))
    told[..., 3] = told[..., 3].sign()
    temperature = track_edit.scaled_temperature(height, width)
    found = track_edit.edit(y, told, temperature, topk)
    for one, track, got in zip(y, told, found, strict=True):
        wanted = motion.edit(one, track, temperature=temperature, topk=topk)
        assert torch.allclose(got, wanted, atol=1e-5)
    # at these sizes the edit does something
    assert float((found - y)[:, 4:, 1:].abs().max()) > 0.5


def test_the_temperature_and_the_form_of_tracks_are_the_plugins() -> None:
    temperature = pytest.importorskip("wan_plugin_ati.temperature")
    assert track_edit.scaled_temperature(12, 12) == temperature.scaled_temperature(12, 12)
    assert track_edit.scaled_temperature(12, 12) == pytest.approx(7.647, abs=1e-3)
    pixels = torch.tensor([[[48.0, 48.0, 1.0], [0.0, 96.0, 0.0], [96.0, 24.0, 1.0]]])
    found = track_edit.processed(pixels, 96, 96)
    assert found[0, :, 1:].tolist() == [[0, 0, 1], [-1, 1, -1], [1, -0.5, 1]]
    wide = track_edit.processed(torch.tensor([[192.0, 96.0, 1.0]]), 96, 192)
    assert wide[0, 1:].tolist() == [2, 1, 1]


def told(count: int = 600) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    scenes = tracked.scenes_of(count, generator(2))
    centres = tracked.tracks_of(scenes, *SIZE)
    radii = torch.stack([scenes[f"{which}_radius"] for which in tracked.WHICH], 1) * 96
    return centres, radii, track_edit.told(centres, radii, SIZE[1:], generator(3))


def test_tracks_are_told_as_often_as_is_said() -> None:
    centres, _, tracks = told()
    assert tracks.shape == (600, 33, track_edit.SLOTS, 4)
    seen = tracks[..., 3] > 0
    pairs = centres[:, 0, 1, 2] > 0
    # an object that is not there is never told of
    assert not bool(seen[~pairs][:, :, [1, 3]].any())
    something = seen.any(1).any(1)
    nothing = track_edit.NOTHING + (1 - track_edit.NOTHING) * track_edit.UNTOLD
    assert float((~something[~pairs]).float().mean()) == pytest.approx(nothing, abs=0.06)
    centre = float(seen[:, 0, 0].float().mean())
    kept = (1 - track_edit.NOTHING) * (1 - track_edit.UNTOLD) * (1 - track_edit.INSTEAD)
    assert centre == pytest.approx(kept, abs=0.05)
    # what ends early never comes back
    later = seen[:, 1:, :4] & ~seen[:, :-1, :4]
    left = ~(centres[..., 2] > 0).all(1)
    assert not bool(later[~left.any(1)].any())


def test_points_lie_on_their_objects_and_places_of_the_background_on_none() -> None:
    centres, radii, tracks = told()
    places = tracks[..., 1:3] * 48 + 48
    seen = tracks[..., 3] > 0
    assert torch.allclose(places[:, :, :2], centres[..., :2], atol=1e-4)
    beside = places[:, :, 2:4] - centres[..., :2]
    assert float((beside - beside[:, :1]).abs().max()) < 1e-3
    assert bool((beside.norm(dim=-1) <= 0.6 * 2**0.5 * radii[:, None] + 1e-3).all())
    still = places[:, :, 4:]
    assert torch.equal(still, still[:, :1].expand_as(still))
    away = (still[:, :, :, None] - centres[:, :, None, :, :2]).norm(dim=-1)
    free = (away > radii[:, None, None]) | (centres[:, :, None, :, 2] == 0)
    assert bool(free.all(-1)[seen[:, :, 4:]].all())
    assert 0.01 < float(seen[:, 0, 4:].float().mean()) < track_edit.STAYS


def test_cells_that_an_object_covers_are_near() -> None:
    centres = torch.zeros(1, 9, 2, 3)
    centres[0, :, 0] = torch.tensor([20.0, 28.0, 1.0])
    centres[0, 5:, 0, 0] = 60.0
    near = track_edit.near(centres, torch.tensor([[8.0, 8.0]]), (12, 12))
    assert near.shape == (1, 3, 12, 12)
    # cell (row 3, column 2) has its centre at (20, 28)
    assert near[0, 0, 3, 2] == 1 and near[0, 1, 3, 2] == 1 and near[0, 2, 3, 2] == 0
    assert near[0, 2, 3, 7] == 1
    assert float(near[0, 0, :, 5:].max()) == 0
