"""The VAE against others: reference cases, diffusers, the published tensor lists, tiling."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import attrs
import pytest
import torch
from torch import Tensor

from wan_core.models.vae import (
    DIALECTS,
    LIGHT21,
    WAN21,
    WAN22,
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
from wan_core.weights.dialects import Dialect, detect

GOLDEN = Path(__file__).parents[1] / "golden"
OFFICIAL, DIFFUSERS22, DIFFUSERS = DIALECTS


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


@pytest.mark.parametrize("name", ["wan21_vae_tiny", "wan22_vae_tiny"])
def test_the_shipped_path_meets_the_cases_that_do_not_amplify_rounding(name: str) -> None:
    """As users get it: no plain arithmetic around the handler; every check of the narrow network."""
    case = Case(GOLDEN / "vae" / f"{name}.json")
    case.tolerance = 1e-5
    roundtrip(case)
    assert [check for check in case.checks if not check.ok] == []
    assert case.uncompared() == []


def test_what_is_not_built_says_so(tmp_path: Path) -> None:
    path = GOLDEN / "vae" / "wan21_vae_tiny.json"
    case = Case(path)
    case.data["config"]["attn_scales"] = [1.0]
    with pytest.raises(NotBuilt, match="attn_scales"):
        HANDLERS["vae.roundtrip"](case)


def reference_vae(name: str = "wan21_vae_tiny") -> tuple[Case, WanVAE]:
    case = Case(GOLDEN / "vae" / f"{name}.json")
    mean, std = (case.tensor(f"inputs.latents_{name}").tolist() for name in ("mean", "std"))
    config = VaeConfig.from_official(case["config"])
    vae = WanVAE.of(VaeDescriptor("tiny", config, mean, std))
    vae.load_state_dict(case.group("weights."))
    return case, vae


@torch.no_grad()
@pytest.mark.parametrize("name", ["wan21_vae_tiny", "wan22_vae_tiny"])
@pytest.mark.parametrize("frames", ["f1", "f5", "f9", "f17"])
def test_whole_clips_and_lean_streams_meet_the_reference_too(name: str, frames: str) -> None:
    case, vae = reference_vae(name)
    video, latents = case.tensor(f"inputs.video_{frames}"), case.tensor(f"inputs.latent_{frames}")
    want_latents, want_frames = (
        case.tensor(f"outputs.mu_{frames}"),
        case.tensor(f"outputs.video_{frames}"),
    )
    streamed = torch.cat(list(vae.decode_stream(latents, at_once=1)), dim=2)
    assert worst(vae.encode(video)[0], want_latents) < 1e-5
    assert worst(vae.decode(latents), want_frames) < 1e-5
    assert worst(streamed, want_frames) < 1e-5


CONFIG21 = VaeConfig(dim=16)
CONFIG22 = VaeConfig(dim=16, patch=2, shortcuts=True, decoder_dim=24)
DIFFUSERS_CONFIG22 = {
    "decoder_base_dim": 24,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}


@pytest.fixture(scope="module", params=[CONFIG21, CONFIG22], ids=["2.1", "2.2"])
def both(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, WanVAE]:
    """diffusers' network with random weights, and ours with the same."""
    from diffusers import AutoencoderKLWan

    config: VaeConfig = request.param
    torch.manual_seed(0)
    theirs: torch.nn.Module = AutoencoderKLWan(
        base_dim=16, z_dim=16, **(DIFFUSERS_CONFIG22 if config.shortcuts else {})
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn_like(parameter) * 0.05)
    names = theirs.state_dict()
    dialect = detect(frozenset(names), DIALECTS)
    assert dialect is (DIFFUSERS22 if config.shortcuts else DIFFUSERS)
    ours = WanVAE(config)
    ours.load_state_dict({dialect.to_official(k): v for k, v in names.items()})  # type: ignore[misc]
    return theirs, ours


def clip(frames: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1


@torch.no_grad()
def test_agrees_with_diffusers(both: tuple[torch.nn.Module, WanVAE]) -> None:
    theirs, vae = both
    video = clip(13, 48, 64)
    moments = theirs.encode(video).latent_dist.parameters  # type: ignore[operator]
    assert worst(torch.cat(vae.encode(video), dim=1), moments) <= 1e-5
    streamed = [torch.cat(part, dim=1) for part in vae.encode_stream(video)]
    assert worst(torch.cat(streamed, dim=2), moments) <= 1e-5
    latents = moments[:, :16]
    want = theirs.decode(latents).sample  # type: ignore[operator]
    assert worst(vae.decode(latents).clamp(-1, 1), want) <= 1e-5
    streamed = list(vae.decode_stream(latents))
    assert worst(torch.cat(streamed, dim=2).clamp(-1, 1), want) <= 1e-5


@torch.no_grad()
def test_tiles_agree_with_diffusers(
    both: tuple[torch.nn.Module, WanVAE], monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, vae = both
    monkeypatch.setattr(theirs, "use_tiling", True)
    for side in ("height", "width"):
        monkeypatch.setattr(theirs, f"tile_sample_min_{side}", 48)
        monkeypatch.setattr(theirs, f"tile_sample_stride_{side}", 32)
    tiling = InPlaceTiling((48, 48), (32, 32))
    video = clip(5, 64 * vae.config.patch, 80 * vae.config.patch)
    mean = theirs.encode(video).latent_dist.mean  # type: ignore[operator]
    assert worst(tiling.encode(vae, video), mean) <= 1e-5
    assert worst(tiling.encode(vae, video), vae.encode(video)[0]) > 1e-3
    want = theirs.decode(mean).sample  # type: ignore[operator]
    assert worst(tiling.decode(vae, mean).clamp(-1, 1), want) <= 1e-5


def test_full_size_has_exactly_the_published_tensors() -> None:
    vae = meta(WAN21.config)
    assert shapes(vae) == manifest("wan2.1-vae")
    assert sum(p.numel() for p in vae.parameters()) == 126_892_531
    assert shapes(meta(LIGHT21.config)) == manifest("lightvae-wan2.1-pruned75")
    newer = meta(WAN22.config)
    assert shapes(newer) == manifest("wan2.2-vae")
    assert sum(p.numel() for p in newer.parameters()) == 704_688_668


@pytest.mark.parametrize(
    ("name", "dialect"), [("wan2.1-vae", DIFFUSERS), ("wan2.2-vae", DIFFUSERS22)]
)
def test_diffusers_names_both_ways(name: str, dialect: Dialect) -> None:
    official = manifest(name)
    file = GOLDEN / "manifests" / f"{name}.official-to-diffusers.json.gz"
    table: dict[str, str] = json.loads(gzip.decompress(file.read_bytes()))
    assert {name: dialect.from_official(name) for name in official} == table
    assert {dialect.to_official(theirs): theirs for theirs in table.values()} == table
    renamed = {table[name]: shape for name, shape in official.items()}
    assert renamed == manifest(f"{name}.diffusers")
    assert detect(frozenset(renamed), DIALECTS) is dialect
    assert detect(frozenset(official), DIALECTS) is OFFICIAL
    for half in ("encoder", "decoder"):
        assert detect({n for n in renamed if n.startswith(half)}, DIALECTS) is dialect
    other = {
        DIFFUSERS: "decoder.up_blocks.0.upsampler",
        DIFFUSERS22: "decoder.up_blocks.0.upsamplers.0",
    }
    strangers = (f"{other[dialect]}.time_conv.weight", "quant_conv", "decoder.foo.bias")
    assert [dialect.to_official(name) for name in strangers] == [None] * 3


@pytest.mark.parametrize(
    "config",
    [
        WAN21.config,
        LIGHT21.config,
        VaeConfig(dim=8, z_dim=4, dim_mult=(2, 4, 7, 8), num_res_blocks=1),
        VaeConfig(dim=6, dim_mult=(1, 2, 2), temporal_downsample=(True, False)),
        WAN22.config,
        attrs.evolve(
            CONFIG22, num_res_blocks=1, dim_mult=(1, 2, 2), temporal_downsample=(True, False)
        ),
    ],
)
def test_configuration_is_read_from_shapes(config: VaeConfig) -> None:
    assert VaeConfig.from_shapes(shapes(meta(config))) == config


def test_descriptor_sizes() -> None:
    assert WAN21.channels == 16 and WAN21.stride == (4, 8, 8)
    assert WAN21.latent_shape(81, 480, 832) == (16, 21, 60, 104)
    assert WAN21.latent_shape(84, 480, 832) == (16, 21, 60, 104)
    assert WAN22.channels == 48 and WAN22.stride == (4, 16, 16)
    assert WAN22.latent_shape(121, 704, 1280) == (48, 31, 44, 80)
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
    with pytest.raises(ValueError, match="can't have shortcuts"):
        VaeConfig(dim_mult=(1, 2, 4, 8), shortcuts=True)
    with pytest.raises(ValueError, match="can't have shortcuts"):
        VaeConfig(dim_mult=(1, 3, 6, 6), shortcuts=True)


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
