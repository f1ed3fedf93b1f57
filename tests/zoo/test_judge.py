"""The judge reads rendered truth, also from worse pictures, and is at chance on other captions."""

from __future__ import annotations

import pytest
import torch

from zoo import measures
from zoo.judge import Verdict, judge
from zoo.measures import blurred, extents, judge_all, score, shuffled, slices, variety
from zoo.world import KINDS, render
from zoo.world.draw import Scenes
from zoo.world.words import ATTRIBUTES

COUNT = 96


@pytest.fixture(scope="module")
def truth() -> Scenes:
    return KINDS["plain"].sample(COUNT, torch.Generator().manual_seed(21))


@pytest.fixture(scope="module")
def verdicts(truth: Scenes) -> list[Verdict]:
    return [judge(clip) for part in slices(truth) for clip in render(KINDS["plain"], part)]


def test_rendered_truth_is_read_right(truth: Scenes, verdicts: list[Verdict]) -> None:
    figures = score(verdicts, truth["attributes"])
    assert all(share >= 0.99 for share in figures["accuracy"].values()), figures["mistakes"]


def test_moves_are_long_and_black_is_black(truth: Scenes, verdicts: list[Verdict]) -> None:
    figures = extents(verdicts, truth["attributes"])
    assert figures["shortest_move"] > 0.3
    assert figures["brightest_black"] < 30


def test_shuffled_captions_are_right_only_by_chance(truth: Scenes, verdicts: list[Verdict]) -> None:
    accuracy = shuffled(verdicts, truth["attributes"])
    for name, words in ATTRIBUTES.items():
        assert abs(accuracy[name] - 1 / len(words)) < 0.16


def test_noise_and_blur_change_little(truth: Scenes) -> None:
    part = next(slices(truth, 16))
    noise = torch.Generator().manual_seed(1)
    clips = blurred(render(KINDS["plain"], part))
    clips = clips + 0.1 * torch.randn(clips.shape, generator=noise)
    figures = score(judge_all(clips, threads=1), part["attributes"])
    assert not figures["mistakes"]


def test_bytes_are_judged_like_numbers(truth: Scenes, verdicts: list[Verdict]) -> None:
    part = next(slices(truth, 2))
    clips = ((render(KINDS["plain"], part) + 1) * 127.5).round().byte()
    for clip, before in zip(clips, verdicts, strict=False):
        assert judge(clip).words == before.words


def test_an_empty_picture_is_judged_without_confidence() -> None:
    verdict = judge(torch.full((3, 9, 64, 64), -1.0))
    assert verdict.words["background"] == "black"
    assert verdict.confidence["shape"] == verdict.confidence["motion"] == 0


def test_variety_finds_a_clip_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(name: str, count: int, seed: int, device: torch.device) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed % 2)
        scenes = KINDS[name].sample(count, generator)
        return render(KINDS[name], scenes, size=(3, 32, 32))

    monkeypatch.setattr(measures, "draw_clips", drawn)
    figures = variety(["plain"], 8, 40.0, torch.device("cpu"))
    assert figures["pairs_above_limit"] == 0
    figures = variety(["plain"], 11, 40.0, torch.device("cpu"))
    assert figures["pairs_above_limit"] == 3
    assert figures["closest_of_those_db"] > 60
