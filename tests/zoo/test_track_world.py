"""The world of tracks: objects are where the tracks say, and the judge finds them there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo import track_test
from zoo.track_judge import centres
from zoo.world import KINDS, render
from zoo.world.heldout import is_heldout
from zoo.world.kinds import tracked
from zoo.world.paths import FORMS, FRAME, KNOTS, LAWS, at_times, laws_of, paths
from zoo.world.words import BACKGROUND_RGB, COLOUR_RGB

SIZE = (33, 96, 96)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(form: str, law: str, count: int = 64) -> Tensor:
    forms = torch.full((count,), FORMS.index(form))
    return paths(forms, torch.full((count,), LAWS.index(law)), generator(3))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("law", LAWS)
def test_paths_stay_in_the_unit_square_and_never_jump(form: str, law: str) -> None:
    places = drawn(form, law)
    assert places.shape == (64, KNOTS, 2)
    assert float(places.min()) >= 0 and float(places.max()) <= 1
    # within a video frame nothing goes a tenth of the room
    assert float((places[:, FRAME:] - places[:, :-FRAME]).norm(dim=-1).max()) < 0.1
    moved = float((places - places[:, :1]).norm(dim=-1).amax(1).mean())
    assert moved == 0 if form == "still" else moved > 0.25


def test_lines_are_straight_and_go_everywhere_and_curves_bend() -> None:
    def bend(places: Tensor) -> Tensor:
        """Farthest a path is from its chord, as a share of its length."""
        chord = places[:, -1] - places[:, 0]
        offset = places - places[:, :1]
        across = offset[..., 0] * chord[:, None, 1] - offset[..., 1] * chord[:, None, 0]
        length = (places.diff(dim=1)).norm(dim=-1).sum(1)
        return across.abs().amax(1) / chord.norm(dim=-1) / length

    lines = drawn("line", "changing", 256)
    assert float(bend(lines).max()) < 1e-3
    way = lines[:, -1] - lines[:, 0]
    eighths = (torch.atan2(way[:, 1], way[:, 0]) / (math.pi / 4)).floor().unique()
    assert len(eighths) == 8
    assert float(bend(drawn("curve", "steady")).median()) > 0.05
    assert float(bend(drawn("winding", "steady")).median()) > 0.05


def test_laws_begin_and_end_and_never_go_back_and_stops_rest() -> None:
    speed = {}
    for number, name in enumerate(LAWS):
        progress = laws_of(torch.full((64,), number), generator(4))
        assert torch.equal(progress[:, 0], torch.zeros(64))
        assert torch.allclose(progress[:, -1], torch.ones(64))
        speed[name] = progress.diff(dim=1)
        assert float(speed[name].min()) > 0
    assert torch.allclose(speed["steady"], speed["steady"][:1, :1].expand(64, KNOTS - 1))
    changing = speed["changing"]
    assert float((changing.amax(1) / changing.amin(1)).median()) > 2
    resting = (speed["stops"] < 0.01 * speed["stops"].amax(1, keepdim=True)).sum(1)
    assert int(resting.min()) >= 4


def test_what_goes_there_and_back_ends_where_it_began() -> None:
    places = drawn("back", "changing")
    assert torch.allclose(places[:, 0], places[:, -1], atol=1e-4)


def test_places_between_knots_lie_between() -> None:
    places = drawn("curve", "steady", 2)
    found = at_times(places, torch.tensor([0.0, 0.5 / (KNOTS - 1), 1.0]))
    assert torch.allclose(found[:, 0], places[:, 0]) and torch.allclose(found[:, 2], places[:, -1])
    assert torch.allclose(found[:, 1], (places[:, 0] + places[:, 1]) / 2)


def test_training_and_evaluation_share_no_combination() -> None:
    for held in (False, True):
        scenes = tracked.scenes_of(128, generator(5), heldout=held)
        for which in tracked.WHICH:
            own = is_heldout(scenes[f"{which}_attributes"])
            assert bool(own.all() if held else not own.any())


@pytest.mark.parametrize("held", [False, True])
def test_two_objects_have_one_background_and_colours_that_can_be_told_apart(held: bool) -> None:
    two = torch.full((128,), 2)
    scenes = tracked.scenes_of(128, generator(6), heldout=held, numbers=two)
    one, other = (scenes[f"{which}_attributes"] for which in tracked.WHICH)
    assert torch.equal(one[:, 4], other[:, 4])
    colours = torch.tensor(list(COLOUR_RGB.values()))
    ground = torch.tensor(list(BACKGROUND_RGB.values()))[one[:, 4]]
    first, second = colours[one[:, 1]], colours[other[:, 1]]
    assert float((first - second).norm(dim=-1).min()) > tracked.APART
    cosine = torch.cosine_similarity(first - ground, second - ground)
    assert float(cosine.max()) < math.sqrt(1 - tracked.TURNED**2) + 1e-6


def test_tracks_say_who_is_there_and_who_has_left() -> None:
    scenes = tracked.scenes_of(256, generator(7), leaves=1.0)
    tracks = tracked.tracks_of(scenes, *SIZE)
    assert tracks.shape == (256, 33, 2, 3)
    assert not bool(tracks[scenes["numbers"] == 1, :, 1, 2].any())
    seen = tracks[:, :, 0, 2] > 0
    inside = ((tracks[:, :, 0, :2] >= 0) & (tracks[:, :, 0, :2] <= 96)).all(-1)
    assert torch.equal(seen, inside)
    assert bool(seen[:, 0].all()) and 0.02 < float((~seen).float().mean()) < 0.5
    never = tracked.tracks_of(tracked.scenes_of(256, generator(7)), *SIZE)
    assert bool(never[:, :, 0, 2].all())


@pytest.mark.parametrize("noise", [0.0, 0.12])
def test_the_judge_finds_each_object_within_a_pixel(noise: float) -> None:
    scenes = track_test.scenes_for(12, seed=9)
    clips = render(KINDS["tracked"], scenes, "cpu", (5, 96, 96))
    clips = (clips + noise * torch.randn(clips.shape, generator=generator(8))).clamp(-1, 1)
    seen = track_test.look(clips, track_test.colours_of(scenes))
    truth = tracked.tracks_of(scenes, 5, 96, 96)
    assert all(bool(there.all()) for there in seen.there)
    for places, track in zip(seen.places, truth, strict=True):
        assert float((places - track[:, : places.shape[1], :2]).norm(dim=-1).max()) < 1


def test_an_object_that_is_not_there_is_seen_where_it_was_last() -> None:
    scenes = track_test.scenes_for(1)
    clip = render(KINDS["tracked"], scenes, "cpu", (5, 96, 96))[0]
    (colours,) = track_test.colours_of(scenes)
    whole, _ = centres(clip, colours)
    clip[:, 3:] = clip[:, :1, :1, :1]
    places, there = centres(((clip + 1) * 127.5).byte(), colours)
    assert there[:, 0].tolist() == [True, True, True, False, False]
    assert torch.equal(places[3], places[2]) and torch.equal(places[4], places[2])
    assert torch.allclose(places[:3], whole[:3], atol=0.1)
    nothing, there = centres(torch.zeros(3, 2, 96, 96), colours)
    assert not bool(there.any()) and torch.equal(nothing, torch.full((2, 1, 2), 48.0))


def test_distances_are_what_a_shift_says() -> None:
    scenes = track_test.scenes_for(8)
    truth = tracked.tracks_of(scenes, *SIZE)
    numbers = scenes["numbers"].tolist()
    assert numbers == [1, 1, 1, 2, 1, 1, 1, 2]
    places = [track[:, :n, :2] + 3.0 for track, n in zip(truth, numbers, strict=True)]
    found = track_test.distances(track_test.Seen(places, []), truth)
    assert torch.allclose(found, torch.full((8,), 3 * math.sqrt(2)))
    figures = track_test.score(found, 4 * found, 96)
    assert figures["mean"] == round(3 * math.sqrt(2) / 96, 4) and figures["ratio"] == 0.25
    assert figures["ok"] and figures["two objects"]["without"] == round(12 * math.sqrt(2) / 96, 4)
    assert not track_test.score(found, 2.9 * found, 96)["ok"]
    assert not track_test.score(2 * found, 9 * found, 96)["ok"]


def test_objects_of_the_evaluation_never_touch_and_lie_in_the_picture() -> None:
    scenes = track_test.scenes_for(64)
    assert bool(is_heldout(scenes["first_attributes"]).all())
    pairs = scenes["numbers"] == 2
    assert int(pairs.sum()) == 16
    distance = (scenes["first_places"] - scenes["second_places"]).norm(dim=-1).amin(1)
    need = scenes["first_radius"] + scenes["second_radius"]
    assert bool((distance > 1.4 * need)[pairs].all())
    assert len(set(track_test.sentences(scenes))) > 20
    moved = (scenes["first_places"] - scenes["first_places"][:, :1]).norm(dim=-1).amax(1)
    assert float(moved.min()) > 0.02
