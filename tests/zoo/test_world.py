"""The toy world: what is drawn is what is said, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from zoo.world import KINDS, canvas, draw_clips, draw_mixture, render
from zoo.world.kinds.plain import scenes_of, track_of
from zoo.world.words import ATTRIBUTES, BACKGROUNDS, MOTIONS, RADIUS, SHAPES, ZOOM

SMALL = (9, 48, 48)


def attributes(**words: str) -> list[int]:
    chosen = {
        "size": "large",
        "colour": "red",
        "shape": "circle",
        "motion": "moves right",
        "background": "black",
    } | words
    return [options.index(chosen[name]) for name, options in ATTRIBUTES.items()]


def many(count: int, **words: str) -> torch.Tensor:
    return torch.tensor([attributes(**words)] * count)


@pytest.mark.parametrize("name", [*KINDS, "lowres"])
def test_every_kind_draws_the_same_clips_for_the_same_seed(name: str) -> None:
    clips = draw_clips(name, 3, 7, size=SMALL)
    assert clips.shape == (3, 3, *SMALL)
    assert float(clips.min()) >= -1 and float(clips.max()) <= 1
    assert bool(torch.isfinite(clips).all())
    assert torch.equal(clips, draw_clips(name, 3, 7, size=SMALL))
    assert not torch.equal(clips, draw_clips(name, 3, 8, size=SMALL))
    assert float((clips[0] - clips[1]).abs().mean()) > 1e-3


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_has_a_caption_for_each_clip(name: str) -> None:
    kind, generator = KINDS[name], torch.Generator().manual_seed(0)
    sentences = kind.captions(kind.sample(5, generator), generator)
    assert len(sentences) == 5
    assert all(sentence.startswith("a ") for sentence in sentences)


def test_a_mixture_has_the_shares_asked_for() -> None:
    clips = draw_mixture({"plain": 3.0, "face": 1.0}, 8, 5, size=SMALL)
    assert clips.shape == (8, 3, *SMALL)
    assert torch.equal(clips, draw_mixture({"plain": 3.0, "face": 1.0}, 8, 5, size=SMALL))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", ["small", "large"])
def test_moves_cover_a_third_of_the_picture_in_one_direction(shape: str, size: str) -> None:
    directions = {
        "moves right": (1, 0),
        "moves left": (-1, 0),
        "moves up": (0, -1),
        "moves down": (0, 1),
    }
    for motion, (right, down) in directions.items():
        rows = many(64, shape=shape, size=size, motion=motion)
        scenes = scenes_of(rows, torch.Generator().manual_seed(1))
        x, y, _ = track_of(scenes, canvas(33, 96, 96, "cpu"))
        along, across = (x, y) if right else (y, x)
        steps = along.diff(dim=1) * (right + down)
        assert float(steps.min()) > 0
        assert float(steps.sum(1).min()) > 0.34
        assert float(across.diff(dim=1).abs().max()) < 1e-6


def test_still_is_still_orbits_close_and_zooms_stay_in_place() -> None:
    for motion in ("stays still", "circles around", "zooms in", "zooms out"):
        rows = many(64, motion=motion, shape="triangle")
        x, y, radius = track_of(
            scenes_of(rows, torch.Generator().manual_seed(2)), canvas(33, 96, 96, "cpu")
        )
        if motion == "circles around":
            width, height = (axis.amax(1) - axis.amin(1) for axis in (x, y))
            assert float(torch.minimum(width, height).min()) > 0.3
            assert float((x[:, 0] - x[:, -1]).abs().max()) < 1e-5
        else:
            assert float((x.amax(1) - x.amin(1)).max()) < 1e-6
            assert float((y.amax(1) - y.amin(1)).max()) < 1e-6
        growth = radius[:, -1] / radius[:, 0]
        ratio = ZOOM[1] / ZOOM[0]
        expected = {"zooms in": ratio, "zooms out": 1 / ratio}.get(motion, 1.0)
        assert torch.allclose(growth, torch.full_like(growth, expected))


def test_small_never_reaches_large_even_while_zooming() -> None:
    assert RADIUS["small"][1] * ZOOM[1] < 1.05 * RADIUS["large"][0] * ZOOM[0]


def test_the_whole_object_stays_in_the_picture() -> None:
    for motion in MOTIONS:
        rows = many(16, motion=motion, background="black", colour="white", shape="square")
        scenes = scenes_of(rows, torch.Generator().manual_seed(3))
        clips = render(KINDS["plain"], scenes, size=(9, 96, 96))
        border = torch.cat([clips[..., :1, :], clips[..., -1:, :]], -2).amax()
        sides = torch.cat([clips[..., :1], clips[..., -1:]], -1).amax()
        assert max(float(border), float(sides)) < -0.7


def test_black_is_black_and_the_five_backgrounds_keep_their_colours() -> None:
    for background in BACKGROUNDS:
        rows = many(32, background=background)
        scenes = scenes_of(rows, torch.Generator().manual_seed(4))
        clips = (render(KINDS["plain"], scenes, size=(1, 96, 96)) + 1) / 2 * 255
        corner = clips[:, :, 0, :2, :2].amax((2, 3))
        if background == "black":
            assert float(corner.max()) < 30
        red, green, blue = corner.unbind(1)
        expected = {
            "gray": (red - green).abs().amax() < 12,
            "navy": (blue - red).amin() > 80,
            "brown": (red - blue).amin() > 80,
            "teal": (green - red).amin() > 80,
        }
        assert background == "black" or bool(expected[background])
