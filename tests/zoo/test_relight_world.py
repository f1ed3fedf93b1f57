"""Relighting pairs, and the judge that reads light, outline and flicker from them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo import soak_unilumos
from zoo.checks import Extent
from zoo.light_judge import flicker, likeness, nearest_light, read
from zoo.relight_bank import fill, pooled
from zoo.relight_measures import brightness, directions, relit
from zoo.relight_test import lights_of
from zoo.soak_unilumos import checks_of, workflow_text
from zoo.world.draw import Scenes
from zoo.world.heldout import combinations, is_heldout
from zoo.world.kinds.lit import LIGHT_ANGLES
from zoo.world.kinds.plain import scenes_of
from zoo.world.relit import (
    SHOWN,
    alike,
    backgrounds,
    elsewhere,
    foregrounds,
    graded,
    outlines,
    retold,
    shown_combinations,
    targets,
    targets_on,
    told,
)
from zoo.world.words import LIGHTS

CPU = torch.device("cpu")
SIZE = (3, 96, 96)
COUNT = 24


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return scenes_of(shown_combinations(COUNT), generator(), SHOWN)


@pytest.fixture(scope="module")
def light() -> Tensor:
    return lights_of(COUNT)


def test_eight_lights_are_asked_for_equally_often(light: Tensor) -> None:
    assert light.bincount().tolist() == [COUNT // len(LIGHTS)] * len(LIGHTS)
    assert [nearest_light(angle) for angle in LIGHT_ANGLES] == list(range(len(LIGHTS)))


def test_the_judge_is_right_on_rendered_truth(scenes: Scenes, light: Tensor) -> None:
    """Directions of both kinds of pairs; outlines whatever the light; other clips' words only by chance."""
    made, own = graded(scenes, light, generator()), elsewhere(scenes, generator(), apart=True)
    even = [read(clip) for clip in foregrounds(scenes, True, generator(), CPU, SIZE)]
    other = [read(clip) for clip in foregrounds(own, False, generator(), CPU, SIZE)]
    truth = outlines(scenes, CPU, SIZE)
    for given, clips in (
        (even, targets(scenes, light, CPU, SIZE)),
        (other, targets_on(made, light, CPU, SIZE)),
    ):
        seen = [read(clip) for clip in clips]
        figures = relit(given, seen, light, {"truth": brightness(clips)})
        assert figures["right"] >= 0.99, figures["mistakes"]
        assert figures["shuffled"] <= 0.125 + 3 * (0.125 * 0.875 / COUNT) ** 0.5
        assert figures["outline"]["mean"] >= 0.97
        assert figures["flicker"]["truth"] == pytest.approx(1, abs=0.01)
        both = torch.stack([reading.outline for reading in seen])
        shared = torch.minimum(both, truth).sum() / torch.maximum(both, truth).sum()
        assert float(shared) > 0.95


def test_an_evenly_lit_clip_shows_hardly_any_slope(scenes: Scenes, light: Tensor) -> None:
    even = foregrounds(scenes, True, generator(), CPU, SIZE)[:8]
    lit = targets(scenes, light, CPU, SIZE)[:8]
    flat = max(read(clip).slope for clip in even)
    assert flat < 0.13 < min(read(clip).slope for clip in lit)


def test_a_judge_of_an_empty_picture_finds_no_outline() -> None:
    reading = read(torch.zeros(3, *SIZE))
    assert float(reading.outline.sum()) == 0
    assert likeness(reading, reading) == 0
    assert flicker(reading.whole) == 0


def test_levels_of_255_are_read_like_any_others(scenes: Scenes, light: Tensor) -> None:
    clip = targets(scenes, light, CPU, SIZE)[0]
    levels = ((clip + 1) * 127.5).round().byte()
    assert read(levels).light == read(clip).light == int(light[0])
    assert likeness(read(levels), read(clip)) > 0.98


def test_mistakes_and_flicker_are_counted(scenes: Scenes, light: Tensor) -> None:
    clips = targets(scenes, light, CPU, SIZE)[:4]
    seen = [read(clip) for clip in clips]
    asked = light[:4].clone()
    asked[0] = (asked[0] + 1) % len(LIGHTS)
    figures = directions(seen, asked)
    assert figures["right"] == 0.75
    assert figures["mistakes"] == [f"0: {LIGHTS[int(asked[0])]} -> {LIGHTS[int(light[0])]}"]
    pulse = torch.tensor([1.0, 0.8, 1.0]).view(1, 1, 3, 1, 1)
    dimmed = [read(clip) for clip in ((clips + 1) * pulse - 1)]
    assert relit(seen, dimmed, asked, {})["flicker"]["input"] > 3
    assert flicker(torch.tensor([0.0, 0.2, 0.0])) == pytest.approx(51)


def test_another_background_keeps_the_object_and_is_never_held_out() -> None:
    rows = combinations(heldout=False)
    scenes = scenes_of(rows, generator())
    made = elsewhere(scenes, generator(), apart=True)
    before, after = scenes["attributes"], made["attributes"]
    assert torch.equal(before[:, :4], after[:, :4])
    assert not bool((before[:, 4] == after[:, 4]).any())
    assert not bool(is_heldout(after).any())
    assert not bool(alike(after).any())
    assert bool(alike(elsewhere(scenes, generator())["attributes"]).any())
    assert bool(is_heldout(shown_combinations(COUNT)).all())


def test_noise_stands_where_the_object_will_be_and_looks_like_its_surroundings(
    scenes: Scenes, light: Tensor
) -> None:
    made = graded(scenes, light, generator())
    masked = torch.arange(COUNT) % 2 == 0
    clips = (backgrounds(made, masked, generator(), CPU, SIZE) + 1) / 2
    inside = outlines(scenes, CPU, SIZE)[:, None].expand_as(clips) > 0.5
    plain = (backgrounds(made, torch.zeros_like(masked), generator(), CPU, SIZE) + 1) / 2
    assert torch.equal(clips[~inside], plain[~inside])
    assert torch.equal(clips[1], plain[1])
    changed = (clips != plain).flatten(1).any(1)
    assert torch.equal(changed, masked)
    place = inside[0, 0, 0]
    around, noise = plain[0, :, 0, ~place], clips[0, :, 0, place]
    assert torch.allclose(noise.mean(1), around.mean(1), atol=0.02)
    assert torch.allclose(noise.std(1), around.std(1), rtol=0.25, atol=0.01)
    # anew in each frame
    still = int((scenes["attributes"][::2, 3] == 4).nonzero()[0]) * 2
    there = inside[still, 0, 0] & inside[still, 0, 1]
    assert not torch.allclose(clips[still, 2, 0, there], clips[still, 2, 1, there])


def test_captions_name_the_light(scenes: Scenes, light: Tensor) -> None:
    for caption, number in zip(told(scenes, light), light.tolist(), strict=True):
        assert caption.endswith(f" background, lit from the {LIGHTS[number]}")
    others = retold(scenes, light, generator())
    alone = [caption for caption in others if caption.startswith("lit from the ")]
    assert 0 < len(alone) < len(others)
    assert all(c.endswith(LIGHTS[n]) for c, n in zip(others, light.tolist(), strict=True))


def test_outlines_on_the_grid_of_latents() -> None:
    masks = torch.zeros(1, 9, 16, 16)
    masks[:, 0, :8, :8] = 1
    masks[:, 1:5, 8:, 8:] = 1
    found = pooled(masks, (3, 2, 2))[0]
    assert found[0].tolist() == [[1, 0], [0, 0]]
    assert found[1].tolist() == [[0, 0], [0, 1]]
    assert not found[2].any()


def test_a_bank_gives_every_mode_with_what_belongs_to_it() -> None:
    from zoo import train_vae
    from zoo.evaluate import BUNDLED

    vae = train_vae.load(BUNDLED / "vae.safetensors", CPU)
    bank = fill(vae, BUNDLED, 8, 60, (5, 16, 16), CPU, compile_it=False, batch=8)
    drawn = bank.batch(256, generator())
    assert drawn.latents.shape == (256, 16, 2, 2, 2)
    front, behind = drawn.channels.chunk(2, dim=1)
    grey = bank.nothing
    no_front = (front == grey).flatten(1).all(1)
    no_behind = (behind == grey).flatten(1).all(1)
    assert 0.03 < float(no_front.float().mean()) < 0.2
    assert 0.35 < float(no_behind.float().mean()) < 0.65
    for latents, new in zip(drawn.latents, (~no_behind).tolist(), strict=True):
        assert bool((bank.targets[:, int(new)] == latents).flatten(1).all(1).any())
    untold = (drawn.rows == bank.rows[0]).flatten(1).all(1)
    assert 0.05 < float(untold.float().mean()) < 0.18


def test_the_soak_holds_each_task_against_its_bounds() -> None:
    figures = {
        "right": 0.9,
        "outline": {"mean": 0.9},
        "flicker": {"input": 1.3, "truth": 1.1},
    }
    assert [check.ok for check in checks_of("even", figures, 64)] == [True, True, False]
    assert [check.ok for check in checks_of("even", figures, 4)] == [True, True]
    assert [check.ok for check in checks_of("new background", figures, 64)] == [True, True, True]
    worse = figures | {"right": 0.89, "outline": {"mean": 0.89}}
    assert [check.ok for check in checks_of("lit", worse, 64)] == [False, False, False]
    stage = tomllib.loads(workflow_text('a "red" circle', 7, True))["stages"][0]
    assert stage == {
        "use": "unilumos",
        "prompt": 'a "red" circle',
        "seed": 7,
        "video": "foreground.mkv",
        "background": "background.mkv",
    }


def test_the_soak_of_a_product_that_gives_the_truth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def truth(folder: Path, task: str, count: int, number: int) -> tuple[Any, ...]:
        case = soak_unilumos._case(task, count)
        wanted = case.wanted[number]
        return read(case.given[number]), read(wanted), brightness(wanted[None])[0]

    monkeypatch.setattr(soak_unilumos, "relight", truth)
    monkeypatch.setattr(soak_unilumos, "SIZE", SIZE)
    pool: Any = SimpleNamespace(map=map)
    figures, checks = soak_unilumos.check_light(pool, Extent(lights=4), tmp_path)
    soak_unilumos._case.cache_clear()
    assert list(figures) == ["even", "lit", "new background"]
    assert len(checks) == 6  # too few clips for flicker
    assert all(check.ok for check in checks)
    assert figures["new background"]["flicker"]["truth"] == pytest.approx(1, abs=0.01)
