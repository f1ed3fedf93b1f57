"""The VAE against others: reference cases, diffusers, the published tensor lists, tiling."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wan_core.models.vae import (
    DIALECTS,
    LIGHT21,
    WAN21,
    InPlaceTiling,
    RampTiling,
    VaeConfig,
    VaeDescriptor,
    WanVAE,
    decode_with_end_frame,
    encode_with_end_frame,
)
from wan_core.testing.golden.case import Case, NotBuilt
from wan_core.testing.golden.kinds.vae import HANDLERS, roundtrip

GOLDEN = Path(__file__).parents[1] / "golden"
OFFICIAL, DIFFUSERS = DIALECTS


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    table = json.loads(gzip.decompress((GOLDEN / "manifests" / f"{name}.json.gz").read_bytes()))
    return {key: tuple(shape) for key, shape in table.items()}


def meta(config: VaeConfig) -> WanVAE:
    with torch.device("meta"):
        return WanVAE(config)


def shapes(vae: WanVAE) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in vae.state_dict().items()}


def worst(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape
    return float((got - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("path", sorted((GOLDEN / "vae").glob("*.json")), ids=lambda p: p.stem)
def test_reference_case(path: Path) -> None:
    case = Case(path)
    HANDLERS[case.kind](case)
    assert [check for check in case.checks if not check.ok] == []
    assert case.uncompared() == []


def test_the_shipped_path_meets_the_case_that_does_not_amplify_rounding() -> None:
    """As users get it: no plain arithmetic around the handler; every check of the four-wide network."""
    case = Case(GOLDEN / "vae" / "wan21_vae_tiny.json")
    case.tolerance = 1e-5
    roundtrip(case)
    assert [check for check in case.checks if not check.ok] == []
    assert case.uncompared() == []


def test_what_is_not_built_says_so(tmp_path: Path) -> None:
    path = GOLDEN / "vae" / "wan21_vae_tiny.json"
    case = Case(path)
    case.data["config"]["dec_dim"] = 3
    with pytest.raises(NotBuilt, match=r"Wan 2\.2"):
        HANDLERS["vae.roundtrip"](case)


def reference_vae() -> tuple[Case, WanVAE]:
    case = Case(GOLDEN / "vae" / "wan21_vae_tiny.json")
    mean, std = (case.tensor(f"inputs.latents_{name}").tolist() for name in ("mean", "std"))
    config = VaeConfig.from_official(case["config"])
    vae = WanVAE.of(VaeDescriptor("tiny", config, mean, std))
    vae.load_state_dict(case.group("weights."))
    return case, vae


@torch.no_grad()
@pytest.mark.parametrize("frames", ["f1", "f5", "f9", "f17"])
def test_whole_clips_and_lean_streams_meet_the_reference_too(frames: str) -> None:
    case, vae = reference_vae()
    video, latents = case.tensor(f"inputs.video_{frames}"), case.tensor(f"inputs.latent_{frames}")
    want_latents, want_frames = (
        case.tensor(f"outputs.mu_{frames}"),
        case.tensor(f"outputs.video_{frames}"),
    )
    streamed = torch.cat(list(vae.decode_stream(latents, at_once=1)), dim=2)
    assert worst(vae.encode(video)[0], want_latents) < 1e-5
    assert worst(vae.decode(latents), want_frames) < 1e-5
    assert worst(streamed, want_frames) < 1e-5


@pytest.fixture(scope="module")
def diffusers_vae() -> torch.nn.Module:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    vae: torch.nn.Module = AutoencoderKLWan(base_dim=16, z_dim=16)
    with torch.no_grad():
        for parameter in vae.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn_like(parameter) * 0.05)
    return vae


@torch.no_grad()
def test_agrees_with_diffusers(diffusers_vae: torch.nn.Module) -> None:
    vae = WanVAE(VaeConfig(dim=16))
    named = {DIFFUSERS.to_official(k): v for k, v in diffusers_vae.state_dict().items()}
    vae.load_state_dict(named)  # type: ignore[arg-type]
    video = torch.rand(1, 3, 13, 48, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    moments = diffusers_vae.encode(video).latent_dist.parameters  # type: ignore[operator]
    assert worst(torch.cat(vae.encode(video), dim=1), moments) <= 1e-5
    streamed = [torch.cat(part, dim=1) for part in vae.encode_stream(video)]
    assert worst(torch.cat(streamed, dim=2), moments) <= 1e-5
    latents = moments[:, :16]
    want = diffusers_vae.decode(latents).sample  # type: ignore[operator]
    assert worst(vae.decode(latents).clamp(-1, 1), want) <= 1e-5
    streamed = list(vae.decode_stream(latents))
    assert worst(torch.cat(streamed, dim=2).clamp(-1, 1), want) <= 1e-5


def test_full_size_has_exactly_the_published_tensors() -> None:
    vae = meta(WAN21.config)
    assert shapes(vae) == manifest("wan2.1-vae")
    assert sum(p.numel() for p in vae.parameters()) == 126_892_531
    assert shapes(meta(LIGHT21.config)) == manifest("lightvae-wan2.1-pruned75")


def test_diffusers_names_both_ways() -> None:
    official = manifest("wan2.1-vae")
    file = GOLDEN / "manifests" / "wan2.1-vae.official-to-diffusers.json.gz"
    table: dict[str, str] = json.loads(gzip.decompress(file.read_bytes()))
    assert {name: DIFFUSERS.from_official(name) for name in official} == table
    assert {DIFFUSERS.to_official(theirs): theirs for theirs in table.values()} == table
    renamed = {table[name]: shape for name, shape in official.items()}
    assert renamed == manifest("wan2.1-vae.diffusers")
    assert DIFFUSERS.detect(frozenset(renamed)) and not DIFFUSERS.detect(frozenset(official))
    assert OFFICIAL.detect(frozenset(official)) and not OFFICIAL.detect(frozenset(renamed))
    strangers = ("decoder.up_blocks.0.upsampler.time_conv.weight", "quant_conv", "decoder.foo.bias")
    assert [DIFFUSERS.to_official(name) for name in strangers] == [None] * 3


@pytest.mark.parametrize(
    "config",
    [
        WAN21.config,
        LIGHT21.config,
        VaeConfig(dim=8, z_dim=4, dim_mult=(2, 4, 7, 8), num_res_blocks=1),
        VaeConfig(dim=6, dim_mult=(1, 2, 2), temporal_downsample=(True, False)),
    ],
)
def test_configuration_is_read_from_shapes(config: VaeConfig) -> None:
    assert VaeConfig.from_shapes(shapes(meta(config))) == config


def test_descriptor_sizes() -> None:
    assert WAN21.channels == 16 and WAN21.stride == (4, 8, 8)
    assert WAN21.latent_shape(81, 480, 832) == (16, 21, 60, 104)
    assert WAN21.latent_shape(84, 480, 832) == (16, 21, 60, 104)
    vae = WanVAE(VaeConfig(dim=2))
    assert vae.latent_shape(84, 480, 832) == (16, 21, 60, 104)
    for frames, height, width in ((0, 8, 8), (1, 12, 8), (1, 8, 12)):
        for holder in (WAN21, vae):
            with pytest.raises(ValueError, match="do not fit"):
                holder.latent_shape(frames, height, width)
    with pytest.raises(ValueError, match="16 entries"):
        VaeDescriptor("short", VaeConfig(), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="one entry less"):
        VaeConfig(dim_mult=(1, 2))


@torch.no_grad()
def test_tiling_is_inexact_and_one_tile_is_not() -> None:
    case, vae = reference_vae()
    latents = case.tensor("inputs.latent_f5")
    height, width = latents.shape[3:]
    whole = torch.cat(list(vae.decode_stream(latents)), dim=2)
    for tiling in (RampTiling, InPlaceTiling):
        assert tiling.exact is False
    assert torch.equal(InPlaceTiling().decode(vae, latents), whole)
    assert worst(RampTiling((height, width), (1, 1)).decode(vae, latents), whole) < 1e-6
    assert worst(RampTiling((3, 2), (1, 1)).decode(vae, latents), whole) > 1e-3
    assert worst(InPlaceTiling((24, 16), (8, 8)).decode(vae, latents), whole) > 1e-3
    with pytest.raises(ValueError, match="smaller than tile"):
        RampTiling((3, 3), (3, 3))
    with pytest.raises(ValueError, match="multiples of 8"):
        InPlaceTiling((20, 16), (8, 8)).decode(vae, latents)


@torch.no_grad()
def test_an_end_frame_is_a_clip_of_its_own() -> None:
    case, vae = reference_vae()
    video = case.tensor("inputs.video_f9")  # 1 + 4, three lost, and the end frame
    latents = encode_with_end_frame(vae, video)
    head = [mean for mean, _ in vae.encode_stream(video[:, :, :5])]
    (tail, _), *_ = vae.encode_stream(video[:, :, 8:])
    assert torch.equal(latents, torch.cat([*head, tail], dim=2))
    parts = list(decode_with_end_frame(vae, latents))
    assert [part.shape[2] for part in parts] == [1, 4, 1]
    (alone,) = vae.decode_stream(latents[:, :, -1:])
    assert torch.equal(parts[-1], alone)
    with pytest.raises(ValueError, match="at least 2 frames"):
        encode_with_end_frame(vae, video[:, :, :1])
