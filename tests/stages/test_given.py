"""Given pictures and videos end to end: what each family's transformer is told of them, and what comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from given_families import (
    CLIP,
    Call,
    calls,
    discovered,
    load_image_encoder,
    load_vae,
    workflow_text,
)
from PIL import Image
from torch import Tensor

from wan_core import Session
from wan_core.contract.events import Event, Note
from wan_core.contract.requests import LoadRequest
from wan_core.engine.keep import Keepsakes
from wan_core.media import fit_signed, read_frames, write_video
from wan_core.models.wan import known_frames_mask
from wan_core.workflow import parse_workflow

PLUGINS = discovered()
I2V, FLF2V, A14B, TI2V = (
    "wan2.1-i2v-14b-480p",
    "wan2.1-flf2v-14b",
    "wan2.2-i2v-a14b",
    "wan2.2-ti2v-5b",
)
T2V = "wan2.1-t2v-1.3b"


@attrs.define(eq=False)
class Made:
    """What came of a run: its frames, what the transformers were called with, the final latents, the notes."""

    frames: np.ndarray
    calls: list[Call]
    latents: Tensor
    notes: list[str]


class Maker:
    """Runs workflows of one stage in a folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.kept: dict[str, Tensor] = {}
        monkeypatch.setattr(Keepsakes, "keep", lambda _, stage, tensors: self.kept.update(tensors))

    def __call__(self, family: str, **stage: Any) -> Made:
        return self.run(workflow_text(family, self.folder / "out.mkv", **stage))

    def run(self, text: str) -> Made:
        calls.clear()
        workflow = parse_workflow(text, name="w.toml", folder=self.folder, plugins=PLUGINS)
        events: list[Event] = []
        with Session(plugins=PLUGINS) as session:
            (path,) = session.run(workflow, listen=events.append).outputs
        notes = [event.text for event in events if isinstance(event, Note)]
        return Made(np.stack(list(read_frames(path))), list(calls), self.kept["video"], notes)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    return Maker(tmp_path, monkeypatch)


def noise(seed: int, height: int, width: int, frames: int = 1) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (frames, 4, 4, 3), dtype=np.uint8)
    big = [np.asarray(Image.fromarray(one).resize((width, height))) for one in coarse]
    return np.stack(big)


def picture(path: Path, seed: int = 0, height: int = 32, width: int = 32) -> Path:
    Image.fromarray(noise(seed, height, width)[0]).save(path)
    return path


def clip(path: Path, frames: int, fps: float = 16, height: int = 32, width: int = 32) -> Path:
    write_video(path, [noise(5, height, width, frames)], fps)
    return path


def component(family: str, slot: str) -> Any:
    """A component as the runs load it."""
    found = PLUGINS.family(f"tiny-{family}").components[slot]
    load = load_vae if slot == "vae" else load_image_encoder
    return load(LoadRequest(slot, found, None, torch.device("cpu"), torch.float32))


def fitted(path: Path, height: int, width: int, **how: Any) -> Tensor:
    """``[3, height, width]``."""
    pixels = np.array(Image.open(path))
    return torch.from_numpy(fit_signed(pixels, width, height, **how)).permute(2, 0, 1)


def encoded(family: str, video: Tensor) -> Tensor:
    mean, _ = component(family, "vae").encode(video[None])
    return mean.float()


@pytest.mark.parametrize("family", [I2V, A14B])
def test_a_first_frame_is_told_as_channels(make: Maker, tmp_path: Path, family: str) -> None:
    image = picture(tmp_path / "first.png", height=40, width=40)
    made = make(family, image=image)
    video = torch.zeros(3, 9, 32, 32)
    video[:, 0] = fitted(image, 32, 32)
    told = torch.cat([known_frames_mask(9, [0], 4, 4)[None], encoded(family, video)], dim=1)
    assert made.frames.shape == (9, 32, 32, 3)
    assert len(made.calls) == 6  # three steps of two branches
    for call in made.calls:
        assert call.latents.shape == (1, 36, 3, 4, 4)
        torch.testing.assert_close(call.latents[:, 16:], told, rtol=0, atol=1e-5)
        assert call.timesteps.shape == (1,)
    if family == A14B:
        assert {call.slot for call in made.calls} == {"transformer.high", "transformer.low"}
        assert all(call.image_tokens is None for call in made.calls)
    else:
        wanted = component(family, "image_encoder").encode([np.array(Image.open(image))])
        for call in made.calls:
            torch.testing.assert_close(call.image_tokens, wanted)


def test_a_first_and_a_last_frame(make: Maker, tmp_path: Path) -> None:
    first, last = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", 1, 64, 64)
    made = make(FLF2V, image=first, last_image=last)
    video = torch.zeros(3, 9, 32, 32)
    video[:, 0], video[:, 8] = fitted(first, 32, 32), fitted(last, 32, 32)
    mask = known_frames_mask(9, [0, 8], 4, 4)
    assert mask[3, 2].min() == 1 and mask[:3, 2].max() == 0
    told = torch.cat([mask[None], encoded(FLF2V, video)], dim=1)
    encoder = component(FLF2V, "image_encoder")
    tokens = [encoder.encode([np.array(Image.open(one))])[0] for one in (first, last)]
    for call in made.calls:
        torch.testing.assert_close(call.latents[:, 16:], told, rtol=0, atol=1e-5)
        assert call.image_tokens is not None and call.image_tokens.shape[1] == 2 * CLIP.tokens
        torch.testing.assert_close(call.image_tokens[0], torch.cat(tokens))


def test_a_clean_first_frame_has_its_own_timestep_and_stays(make: Maker, tmp_path: Path) -> None:
    image = picture(tmp_path / "first.png", height=80, width=120)
    made = make(TI2V, image=image, width=64, height=64)
    kept = encoded(TI2V, fitted(image, 64, 64, mode="cover", kernel="pillow-lanczos")[:, None])
    assert kept.shape == (1, 48, 1, 4, 4)
    assert made.latents.shape == (1, 48, 3, 4, 4)
    torch.testing.assert_close(made.latents[:, :, :1], kept, rtol=0, atol=1e-5)
    for call in made.calls:
        assert call.latents.shape == (1, 48, 3, 4, 4)
        torch.testing.assert_close(call.latents[:, :, :1], kept, rtol=0, atol=1e-5)
        # a timestep per latent frame, not per token
        assert call.timesteps.shape == (1, 3)
        assert call.timesteps[0, 0] == 0 and call.timesteps[0, 1] == call.timesteps[0, 2] > 0


def test_the_same_family_makes_videos_from_text_alone(make: Maker) -> None:
    made = make(TI2V)
    assert all(call.timesteps.shape == (1,) for call in made.calls)
    assert made.frames.shape == (9, 64, 64, 3)


def test_going_on_from_a_video(make: Maker, tmp_path: Path) -> None:
    before = clip(tmp_path / "before.mkv", 13)
    made = make(I2V, continues=before, overlap=5)
    frames = np.stack(list(read_frames(before)))[-5:]
    given = torch.from_numpy(fit_signed(frames, 32, 32)).permute(3, 0, 1, 2)
    video = torch.cat([given, torch.zeros(3, 4, 32, 32)], dim=1)
    told = torch.cat([known_frames_mask(9, range(5), 4, 4)[None], encoded(I2V, video)], dim=1)
    torch.testing.assert_close(made.calls[0].latents[:, 16:], told, rtol=0, atol=1e-5)
    wanted = component(I2V, "image_encoder").encode([frames[-1]])
    torch.testing.assert_close(made.calls[0].image_tokens, wanted)
    assert any("overlap of 1, not 5" in note for note in made.notes)


def test_going_on_from_an_earlier_stage(make: Maker, tmp_path: Path) -> None:
    first = workflow_text(I2V, tmp_path / "out.mkv", image=picture(tmp_path / "a.png"))
    more = '[[stages]]\nuse = "generate"\nprompt = "on"\ncontinues = "generate.video"\n'
    made = make.run(first + more)
    last = made.calls[-1].latents[:, 16:]
    torch.testing.assert_close(last[:, :4], known_frames_mask(9, [0], 4, 4)[None])
    assert made.frames.shape == (9, 32, 32, 3)


def test_a_video_is_changed_as_much_as_strength_says(make: Maker, tmp_path: Path) -> None:
    source = clip(tmp_path / "source.mkv", 9)
    frames = torch.from_numpy(fit_signed(np.stack(list(read_frames(source))), 32, 32))
    clean = encoded(T2V, frames.permute(3, 0, 1, 2))

    def distance(strength: float) -> float:
        made = make(T2V, video=source, strength=strength, steps=20, guidance=1.0)
        # (20 - the whole part of 20 * strength - 1) steps are left out
        assert len(made.calls) == min(20, int(20 * strength) + 1)
        level = float(made.calls[0].timesteps) / 1000
        first = made.calls[0].latents - (1 - level) * clean
        assert abs(float(first.std()) / level - 1) < 0.1
        return float((made.latents - clean).abs().mean())

    little, more, all_of_it = distance(0.1), distance(0.5), distance(1.0)
    assert little < more < all_of_it


def test_what_the_mask_leaves_is_held_at_every_step(make: Maker, tmp_path: Path) -> None:
    source = clip(tmp_path / "source.mkv", 9)
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 17:] = 255  # touches the third column of latents
    Image.fromarray(mask).save(tmp_path / "mask.png")
    made = make(T2V, video=source, mask=tmp_path / "mask.png", seed=3)
    frames = torch.from_numpy(fit_signed(np.stack(list(read_frames(source))), 32, 32))
    clean = encoded(T2V, frames.permute(3, 0, 1, 2))
    torch.testing.assert_close(made.latents[..., :2], clean[..., :2], rtol=0, atol=1e-5)
    assert float((made.latents[..., 2:] - clean[..., 2:]).abs().mean()) > 0.1
    drawn = torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    for call in made.calls[2:]:
        level = float(call.timesteps) / 1000
        held = level * drawn + (1 - level) * clean
        torch.testing.assert_close(call.latents[..., :2], held[..., :2], rtol=0, atol=2e-3)


def test_a_grey_mask_lets_go_in_the_course_of_the_run(make: Maker, tmp_path: Path) -> None:
    source = clip(tmp_path / "source.mkv", 9)
    Image.new("L", (32, 32), 128).save(tmp_path / "mask.png")
    made = make(T2V, video=source, mask=tmp_path / "mask.png", steps=10, guidance=1.0)
    frames = torch.from_numpy(fit_signed(np.stack(list(read_frames(source))), 32, 32))
    clean = encoded(T2V, frames.permute(3, 0, 1, 2))
    drawn = torch.randn(1, 16, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    def is_held(call: Call) -> bool:
        level = float(call.timesteps) / 1000
        return torch.allclose(call.latents, level * drawn + (1 - level) * clean, atol=2e-3)

    assert [is_held(call) for call in made.calls] == [True] * 5 + [False] * 5


def test_a_run_is_the_same_twice(make: Maker, tmp_path: Path) -> None:
    stage = {"image": picture(tmp_path / "a.png"), "seed": 4}
    assert np.array_equal(make(I2V, **stage).frames, make(I2V, **stage).frames)
    other = picture(tmp_path / "b.png", 9)
    assert not np.array_equal(
        make(I2V, **stage).frames, make(I2V, **stage | {"image": other}).frames
    )


def test_a_video_of_another_rate_and_size(make: Maker, tmp_path: Path) -> None:
    source = clip(tmp_path / "source.mkv", 40, fps=32, height=48, width=96)
    made = make(T2V, video=source, video_start=0.5, strength=0.4)
    # 24 frames are left at 32 a second, so 12 at the family's 16, of which 9 are 4n + 1
    # and the preset's 32 * 32 pixels hold 32x16 of its proportions
    assert made.frames.shape == (9, 16, 32, 3)


def test_a_video_smaller_than_a_patch_is_made_larger(make: Maker, tmp_path: Path) -> None:
    source = clip(tmp_path / "source.gif", 9, fps=20, height=4, width=4)
    assert make(T2V, video=source, strength=0.4).frames.shape[1:] == (16, 16, 3)
