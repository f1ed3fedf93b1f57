"""Given videos and masks as streams: which frames count, how they are cut, and how few are held at a time."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from given_families import discovered, load_vae
from PIL import Image

from wan_core.contract.requests import LoadRequest, VideoSize
from wan_core.media import probe_clip, write_video
from wan_core.stages import frames as module
from wan_core.stages.frames import given_frames, given_video, mask_of_latents
from wan_core.stages.options import GenerateOptions
from wan_core.stages.sights import part_of

PLUGINS = discovered()
T2V = PLUGINS.family("tiny-wan2.1-t2v-1.3b")
I2V = PLUGINS.family("tiny-wan2.1-i2v-14b-480p")
SMALL = VideoSize(32, 32, 9, T2V.preset.fps)


def context(family: Any = T2V, **options: Any) -> Any:
    """What reading needs of a stage's context."""
    return SimpleNamespace(options=GenerateOptions(prompt="", **options), family=family, inputs={})


def film(path: Path, levels: Iterator[int] | range, fps: float, width: int = 32) -> Path:
    """Frames of one grey each."""
    write_video(path, (np.full((1, 32, width, 3), level, np.uint8) for level in levels), fps)
    return path


def test_a_mask_is_read_at_the_times_of_its_video(tmp_path: Path) -> None:
    video = film(tmp_path / "v.mkv", range(30), 32)
    mask = film(tmp_path / "m.mkv", (255 * (number >= 12) for number in range(30)), 32)
    asked = context(video=video, mask=mask, video_start=0.25)
    # from frame 8 on every second one: white from 8 + 2 * 2 on, which is in the second latent frame
    assert mask_of_latents(asked, SMALL, (4, 8, 8))[0, 0, :, 0, 0].tolist() == [0, 1, 1]
    later = context(video=video, mask=mask)
    assert mask_of_latents(later, SMALL, (4, 8, 8))[0, 0, :, 0, 0].tolist() == [0, 0, 1]


def test_a_mask_is_cut_as_its_video_is(tmp_path: Path) -> None:
    video = film(tmp_path / "v.mkv", range(9), 16, width=64)
    levels = np.zeros((32, 64), np.uint8)
    levels[:, :20] = 255  # the middle begins at 16
    Image.fromarray(levels).save(tmp_path / "m.png")
    asked = context(video=video, mask=tmp_path / "m.png")
    assert mask_of_latents(asked, SMALL, (4, 8, 8))[0, 0, 0, 0].tolist() == [1, 0, 0, 0]


def test_pictures_that_say_no_rate_are_taken_one_by_one(tmp_path: Path) -> None:
    for number in range(9):
        Image.new("RGB", (32, 32), (20 * number,) * 3).save(tmp_path / f"{number:03d}.png")
    for path in (tmp_path, tmp_path / "%03d.png"):
        asked = context(video=path)
        assert probe_clip(path, part_of("video", asked.options, 16)).frames == 9
        shown = [int(frame.mean() * 127.5 + 127.6) for frame in given_video(asked, SMALL)]
        assert shown == [20 * number for number in range(9)]
        assert part_of("video", context(video=path, video_start=0.25).options, 16).first == 4


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[int]]:
    """Counts the frames of a function of the module that somebody holds, whenever it makes one more."""

    def watch(name: str) -> list[int]:
        counts: list[int] = []
        held: list[weakref.ref[Any]] = []
        make = getattr(module, name)

        def count(frame: Any) -> Any:
            memory = frame
            while isinstance(memory.base, np.ndarray):
                memory = memory.base
            held[:] = [one for one in held if one() is not None] + [weakref.ref(memory)]
            counts.append(len(held))
            return frame

        def stream(*given: Any) -> Iterator[Any]:
            for frame in make(*given):
                yield count(frame)

        monkeypatch.setattr(module, name, stream)
        return counts

    return watch


def test_few_frames_of_a_video_are_held_while_it_is_encoded(
    tmp_path: Path, alive: Callable[[str], list[int]]
) -> None:
    vae = load_vae(
        LoadRequest("vae", T2V.components["vae"], None, torch.device("cpu"), torch.float32)
    )
    counts = alive("read_clip")
    most = []
    for frames in (21, 61):
        video = film(tmp_path / f"{frames}.mkv", range(frames), 16)
        size = VideoSize(32, 32, frames, 16)
        latents = sum(1 for _ in vae.encode_stream(given_video(context(video=video), size)))
        assert latents == (frames - 1) // 4 + 1 and len(counts) == frames
        most.append(max(counts))
        counts.clear()
    assert most[0] == most[1] <= 3


def test_few_frames_of_a_mask_are_held(tmp_path: Path, alive: Callable[[str], list[int]]) -> None:
    counts = alive("read_masks")
    video = film(tmp_path / "v.mkv", range(61), 16)
    mask_of_latents(context(video=video, mask=video), VideoSize(32, 32, 61, 16), (4, 8, 8))
    assert len(counts) == 61 and max(counts) <= 3


def test_no_more_than_the_overlap_is_held_of_a_continued_video(
    tmp_path: Path, alive: Callable[[str], list[int]]
) -> None:
    counts = alive("read_clip")
    video = film(tmp_path / "v.mkv", range(61), 16)
    (given,) = given_frames(context(I2V, continues=video, overlap=5), SMALL)
    assert given.frames.shape == (3, 5, 32, 32)
    assert len(counts) == 61 and 5 <= max(counts) <= 7
