"""A timestep per latent frame costs no row per token: at full size, from shapes alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from live_bytes import Numbers, fused_attention
from torch import Tensor
from wan_samples import random_transformer

from wan_core.contract.conditioning import Conditioning, Timed
from wan_core.contract.requests import GivenFrames, PictureRequest, VideoSize
from wan_core.models.families import WAN22_TI2V_5B
from wan_core.models.vae import VaeConfig
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.models.wan.pictures import as_clean_frames
from wan_core.sampling import SamplerState, noise_sources, sample, start_latents
from wan_core.sampling.guidance import CFG
from wan_core.sampling.recipes import unipc

# TI2V-5B at 1280x704 and 121 frames: latents of 48 channels, strides 4, 16, 16
CONFIG = WanConfig(
    dim=3072, ffn_dim=14336, num_heads=24, num_layers=2, in_dim=48, out_dim=48
)  # of 30 equal blocks
FRAMES, HEIGHT, WIDTH = 31, 44, 80
TOKENS = FRAMES * (HEIGHT // 2) * (WIDTH // 2)


def numbers(monkeypatch: pytest.MonkeyPatch, batch: int, *groups: int) -> list[int]:
    """Sizes of everything that a forward pass makes, for timesteps ``[batch, *groups]``."""
    with torch.device("meta"), torch.no_grad(), fused_attention(monkeypatch):
        transformer = WanTransformer(CONFIG).to(torch.bfloat16)
        transformer.rows = None  # what would be too large is compared with the hidden tensor
        latents = torch.empty(batch, CONFIG.in_dim, FRAMES, HEIGHT, WIDTH)
        text = torch.empty(batch, 20, CONFIG.text_dim)
        with Numbers() as made:
            out = transformer(latents, torch.empty(batch, *groups), text)
    assert out.shape == latents.shape
    return made.seen


@pytest.mark.parametrize("batch", [1, 2])
def test_a_timestep_per_frame_makes_nothing_larger(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    scalar = numbers(monkeypatch, batch)
    by_frame = numbers(monkeypatch, batch, FRAMES)
    hidden = batch * TOKENS * CONFIG.ffn_dim
    assert max(scalar) == max(by_frame) == hidden
    # the one rule that would be broken: six rows of modulation for each token
    modulation = batch * TOKENS * 6 * CONFIG.dim
    assert modulation > hidden
    assert max(numbers(monkeypatch, batch, TOKENS)) == modulation


def test_a_timestep_per_frame_makes_hardly_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what a timestep per sample makes, the modulation of the frames: rows of 31, not of 27280."""
    scalar, by_frame = numbers(monkeypatch, 2), numbers(monkeypatch, 2, FRAMES)
    assert sum(by_frame) < 1.05 * sum(scalar)


class OneFrame:
    """A VAE that encodes to ones, and the components of which it is one."""

    config = VaeConfig(dim=4, z_dim=4)

    def get(self, slot: str) -> OneFrame:
        return self

    def release(self, slot: str) -> None:
        pass

    def encode_stream(self, frames: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        for frame in frames:
            mean = torch.ones(1, 4, 1, frame.shape[-2] // 8, frame.shape[-1] // 8)
            yield mean, mean


def test_the_sampler_hands_on_a_timestep_per_frame() -> None:
    """From a first picture to the transformer: ``[batch, frames]`` all the way."""
    transformer = random_transformer(in_dim=4, out_dim=4)
    request = PictureRequest(
        "video",
        (GivenFrames("image", 0, torch.zeros(3, 1, 32, 32), None),),
        WAN22_TI2V_5B,
        VideoSize(32, 32, 9, 24),
        OneFrame(),
        torch.device("cpu"),
        torch.float32,
        lambda *_, **__: nullcontext(lambda done: None),
    )
    text = {"video": Timed(torch.ones(1, 3, 16))}
    told = as_clean_frames(request, Conditioning(text=text).with_branch("uncond", text=text))
    seen: list[Tensor] = []
    transformer.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    setup = unipc(2, 5.0)
    noise = noise_sources(0, ["video"])
    start = start_latents(setup.schedule, {"video": (1, 4, 3, 4, 4)}, noise)
    sample(
        WanDenoiser(transformer),
        setup.schedule,
        SamplerState.start(setup, start, noise),
        conditioning=told,
        guidance=CFG(2.0),
    )
    assert [tuple(one.shape) for one in seen] == [(1, 3)] * 4  # two steps, two branches
    assert all(one[0, 0] == 0 and one[0, 1] == one[0, 2] > 0 for one in seen)
