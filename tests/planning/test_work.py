"""Operations of a model against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from live_bytes import fused_attention
from torch.utils.flop_counter import FlopCounterMode

from wan_core.contract.requests import VideoSize
from wan_core.models.encoders import ClipConfig, ClipVision
from wan_core.models.encoders.clip import build_clip
from wan_core.models.vae import WAN21, VaeConfig, WanVAE
from wan_core.models.vae.workspaces import SMALL_CONVOLUTION
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.planning.known import tokens
from wan_core.planning.work import (
    Work,
    attention,
    clip_work,
    decoder_work,
    encoder_work,
    flop,
    linear,
    transformer_work,
    video_encoder_work,
)

SMALL = WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
LARGE = WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40)
AT_480P = tokens(VideoSize(832, 480, 81, 16))


def test_tokens_of_the_usual_clip() -> None:
    assert AT_480P == 21 * 30 * 52


@pytest.mark.parametrize(
    ("config", "linears", "attentions", "total"),
    [
        # a block's parameters that see every token: 6 d^2 + 2 d f; scores and sums: 4 T (T + 512) d
        (SMALL, 30 * (6 * 1536**2 + 2 * 1536 * 8960), 30 * 1536, 2.84e14),
        (LARGE, 40 * (6 * 5120**2 + 2 * 5120 * 13824), 40 * 5120, 1.68e15),
    ],
)
def test_a_forward_pass_of_the_transformer(
    config: WanConfig, linears: int, attentions: int, total: float
) -> None:
    work = transformer_work(config, AT_480P, 2)
    assert flop(work, "attention") == 4 * AT_480P * (AT_480P + 512) * attentions
    # beside the tokens' own, the keys and values of 512 text rows, patches, and text embedding
    assert flop(work, "matmul") == pytest.approx(2 * AT_480P * linears, rel=0.01)
    assert flop(work) == pytest.approx(total, rel=0.01)


def test_a_forward_pass_of_14b_is_what_its_parameters_say() -> None:
    """The rule of thumb: 2 FLOP a parameter and token, and 4 a pair of tokens, layer and width."""
    thumb = 2 * 14.0e9 * AT_480P + 4 * AT_480P**2 * 5120 * 40
    assert flop(transformer_work(LARGE, AT_480P, 2)) == pytest.approx(thumb, rel=0.15)


def test_image_tokens_and_hints_are_counted() -> None:
    plain = WanConfig(dim=64, ffn_dim=128, num_heads=2, num_layers=3)
    image = attrs.evolve(plain, image_dim=1280)
    hinted = attrs.evolve(plain, vace_layers=(0, 2), vace_in_dim=96)
    usual = flop(transformer_work(plain, 100, 4))
    # no picture is shown, nothing is attended to
    assert flop(transformer_work(image, 100, 4)) == usual
    for rows in (257, 514):
        embedded = 2 * rows * 1280 * (1280 + 64)
        of_image = embedded + 3 * (2 * 2 * rows * 64**2 + 4 * 100 * rows * 64)
        shown = flop(transformer_work(image, 100, 4, image_rows=rows))
        assert shown == pytest.approx(usual + of_image)
    block = 2 * (6 * 100 * 64**2 + 2 * 512 * 64**2 + 2 * 100 * 64 * 128) + 4 * 100 * 612 * 64
    start = 2 * 100 * (4 * 96 * 64 + 64**2)
    more = start + 2 * (block + 2 * 100 * 64**2)
    assert flop(transformer_work(hinted, 100, 4)) == pytest.approx(usual + more)
    assert flop(transformer_work(hinted, 100, 4, contexts=3)) == pytest.approx(usual + 3 * more)


@pytest.mark.parametrize("more", [{}, {"image_dim": 96}, {"vace_layers": (0, 2), "vace_in_dim": 8}])
def test_a_forward_pass_against_what_torch_counts(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    config = WanConfig(dim=64, ffn_dim=128, num_heads=2, num_layers=3, text_len=16, **more)
    with torch.device("meta"), torch.no_grad():
        transformer = WanTransformer(config)
        told: dict[str, Any] = {}
        if config.image_dim:
            told["image_tokens"] = torch.empty(1, 10, config.image_dim)
        if config.vace_layers:
            told["add_ons"] = {"vace": {"context": torch.empty(1, 8, 3, 8, 12)}}
        counter = FlopCounterMode(display=False)
        with counter, fused_attention(monkeypatch):
            transformer(
                torch.empty(1, 16, 3, 8, 12), torch.empty(1), torch.empty(1, 9, 4096), **told
            )
    work = transformer_work(config, 3 * 4 * 6, 4, image_rows=10 if config.image_dim else 0)
    # torch counts the time embedding, too, which is one row
    time = 2 * (config.freq_dim * 64 + 64**2 + 6 * 64**2)
    assert flop(work, "matmul") == counter.get_total_flops() - time


def by_hand(config: VaeConfig, height: int, width: int, frames: int) -> float:
    """The decoder of two stages with one doubling of time, one residual block more than stated."""
    wide, narrow = config.dim * config.dim_mult[1], config.dim * config.dim_mult[0]
    area, total = (height // 2) * (width // 2), 0.0
    for latent in range((frames - 1) // 2 + 1):
        made = 1 if latent == 0 else 2
        total += 2 * area * (config.z_dim**2 + 27 * config.z_dim * wide)
        total += 4 * 27 * 2 * area * wide**2  # two residual blocks of the middle, two each
        total += 2 * area * 4 * wide**2 + 4 * area**2 * wide
        total += 2 * 2 * 2 * 27 * area * wide**2  # stage 1: two residual blocks
        total += 0 if latent == 0 else 2 * 3 * area * 2 * wide**2  # doubles time
        total += 2 * 9 * made * 4 * area * wide * (wide // 2)  # doubles space
        first = wide // 2
        fine = 2 * made * 4 * area
        total += fine * (27 * first * narrow + 27 * narrow**2)
        total += fine * first * narrow if first != narrow else 0
        total += fine * 2 * 27 * narrow**2 + fine * 27 * narrow * 3
    return total


@pytest.mark.parametrize(("dim", "mult"), [(8, (1, 2)), (8, (1, 4))])
def test_decoding_against_every_layer_by_hand(dim: int, mult: tuple[int, ...]) -> None:
    config = VaeConfig(
        dim=dim, z_dim=4, dim_mult=mult, num_res_blocks=1, temporal_downsample=(True,)
    )
    work = decoder_work(config, 16, 24, 5, 4)
    assert flop(work) == pytest.approx(by_hand(config, 16, 24, 5))


@pytest.mark.parametrize("newer", [False, True])
def test_decoding_against_what_torch_counts(newer: bool) -> None:
    config = VaeConfig(dim=4, z_dim=6, num_res_blocks=1, patch=1 + newer, shortcuts=newer)
    vae = WanVAE(config)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        for frames in vae.decode_stream(torch.zeros(1, 6, 3, 2, 3)):
            del frames
    _, down, across = config.stride
    work = decoder_work(config, 2 * down, 3 * across, 9, 4)
    # torch does not count attention where a fused kernel computes it
    assert flop(work) - flop(work, "attention") == counter.get_total_flops()


@pytest.mark.parametrize("frames", [1, 9])
@pytest.mark.parametrize("newer", [False, True])
def test_encoding_against_what_torch_counts(newer: bool, frames: int) -> None:
    config = VaeConfig(dim=4, z_dim=6, num_res_blocks=1, patch=1 + newer, shortcuts=newer)
    vae = WanVAE(config)
    counter = FlopCounterMode(display=False)
    _, down, across = config.stride
    with counter, torch.no_grad():
        for latents in vae.encode_stream(torch.zeros(1, 3, frames, 2 * down, 3 * across)):
            del latents
    work = video_encoder_work(config, 2 * down, 3 * across, frames, 4)
    assert flop(work) - flop(work, "attention") == counter.get_total_flops()


@pytest.mark.parametrize("pictures", [1, 2])
def test_image_tokens_against_what_torch_counts(pictures: int) -> None:
    config = ClipConfig(28, 14, 32, 64, 2, 4)
    clip = ClipVision(build_clip(config).to_empty(device="cpu"), config)
    clip.model.embeddings.position_ids = torch.arange(config.tokens)[None]
    counter = FlopCounterMode(display=False)
    with counter:
        clip.encode(torch.zeros(pictures, 3, 28, 28))
    work = clip_work(config, pictures, 4)
    counted = counter.get_flop_counts()["Global"]
    plain = sum(n for name, n in counted.items() if "attention" not in str(name))
    assert flop(work) - flop(work, "attention") == plain
    assert (
        flop(work, "attention") == pictures * 3 * 4 * 5 * 5 * 32
    )  # three of four layers, 5 tokens


def test_image_tokens_of_the_published_tower() -> None:
    """0.6 G parameters that see 257 rows of a picture."""
    assert flop(clip_work(ClipConfig(224, 14, 1280, 5120, 16, 32), 1, 2)) == pytest.approx(
        2 * 0.61e9 * 257, rel=0.05
    )


def test_decoding_is_linear_in_frames_after_the_first() -> None:
    one, five, nine = (flop(decoder_work(WAN21.config, 480, 832, n, 2)) for n in (1, 5, 9))
    assert nine - five == pytest.approx(five - one)
    assert five > 4 * one


def test_small_convolutions_are_told_apart() -> None:
    config = VaeConfig(dim=8, dim_mult=(2, 4, 7, 8), num_res_blocks=1)
    assert not flop(decoder_work(config, 96, 96, 5, 4), "convolution")
    assert flop(decoder_work(WAN21.config, 480, 832, 5, 4), "small_convolution") < 1e12
    limit = SMALL_CONVOLUTION // (16 * 6)
    large = decoder_work(config, 8 * (limit // 8 + 1), 96, 5, 4)
    assert flop(large, "convolution") and flop(large, "small_convolution")


def test_a_prompt_takes_two_operations_a_parameter_and_row() -> None:
    assert flop(encoder_work(4_700_000_000, 24, 20, 2)) == pytest.approx(2 * 4.7e9 * 20)


def test_bytes_of_single_calls() -> None:
    assert linear(10, 4, 6, 2) == Work("matmul", 480, (40 + 60 + 24) * 2)
    assert attention(3, 5, 8, 4) == Work("attention", 4 * 15 * 8, 2 * 8 * 8 * 4)
