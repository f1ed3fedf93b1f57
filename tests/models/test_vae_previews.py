"""Tiny VAEs for previews, and colours straight from latents."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_bytes import LiveBytes
from safetensors.torch import save_file
from taehv_samples import tiny
from torch import Tensor

from wan_core.contract.descriptions import Component
from wan_core.contract.errors import WeightsError
from wan_core.contract.requests import LoadRequest, VideoSize
from wan_core.models.loaders import load_taehv, load_vae
from wan_core.models.vae import (
    LIGHT21,
    TAEW21,
    TAEW22,
    WAN21,
    WAN22,
    Taehv,
    TaehvConfig,
    VaeConfig,
    VaeDescriptor,
    colours_of,
    latent_preview,
    taehv_config,
    vae_descriptor,
    verify_taehv,
)
from wan_core.models.vae.preview import Colours, fit_colours, mean_colours
from wan_core.models.vae.taehv_files import taehv_shapes
from wan_core.planning.fitting import bundled
from wan_core.planning.predict import preview_decoding
from wan_core.weights import StateDict, open_weights
from zoo.training import psnr
from zoo.world import draw_clips

GOLDEN = Path(__file__).parents[1] / "golden"
LATENTS = 5
SMALL = {
    "2.1": TaehvConfig(z_dim=5, decoder_widths=(8, 6, 4, 4), encoder_width=4),
    "2.2": TaehvConfig(z_dim=6, patch=2, decoder_widths=(8, 6, 4, 4), encoder_width=4),
}


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=SMALL)
def network(request: pytest.FixtureRequest) -> Taehv:
    return tiny(SMALL[request.param])


def close(got: Tensor, want: Tensor) -> bool:
    assert got.shape == want.shape
    return float((got - want).abs().max()) <= 1e-5 * float(want.abs().max())


@pytest.mark.parametrize(("name", "config"), [("taew2_1", TAEW21), ("taew2_2", TAEW22)])
def test_full_size_has_exactly_the_published_tensors(name: str, config: TaehvConfig) -> None:
    packed = (GOLDEN / "manifests" / f"{name}.json.gz").read_bytes()
    published = {k: tuple(v) for k, v in json.loads(gzip.decompress(packed)).items()}
    with torch.device("meta"):
        network = Taehv(config)
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == published
    assert taehv_shapes(config) == published
    assert TaehvConfig.from_shapes(published) == config
    assert config.stride == (4, 8 * config.patch, 8 * config.patch)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sets(st.integers(1, LATENTS - 1)))
def test_a_stream_split_over_calls_is_bit_identical(network: Taehv, cuts: set[int]) -> None:
    latents = random(2, network.config.z_dim, LATENTS, 3, 2)
    whole = list(network.decode_stream(latents))
    assert [part.shape[2] for part in whole] == [1, 4, 4, 4, 4]
    state = network.decoder_state()
    pieces = [b - a for a, b in pairwise([0, *sorted(cuts), LATENTS])]
    got = [
        frames
        for part in torch.split(latents, pieces, dim=2)
        for frames in network.decode_stream(part, state=state)
    ]
    assert torch.equal(torch.cat(got, dim=2), torch.cat(whole, dim=2))


def test_folded_pixels_lie_row_by_row() -> None:
    network = tiny(SMALL["2.2"])
    frames = network.decode(random(1, 6, 1, 2, 3))
    with torch.no_grad():
        raw = network.decoder(random(1, 6, 1, 2, 3).transpose(1, 2))[:, 3].clamp(0, 1) * 2 - 1
    for colour in range(3):
        for row in range(2):
            for column in range(2):
                pixels = frames[:, colour, 0, row::2, column::2]
                assert torch.equal(pixels, raw[:, 4 * colour + 2 * row + column])
    video = torch.zeros(1, 3, 4, 16, 16)
    seen: list[Tensor] = []
    assert network.encoder is not None
    network.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    video[:, 1, :, 0::2, 1::2] = 1
    network.encode(video)
    assert [index for index in range(12) if seen[0][:, index].eq(1).all()] == [5]


@pytest.mark.parametrize("chunk", [1, 2, LATENTS])
def test_streams_equal_the_whole(network: Taehv, chunk: int) -> None:
    latents = random(1, network.config.z_dim, LATENTS, 3, 2) * 3
    want = network.decode(latents)
    side = 8 * network.config.patch
    assert want.shape == (1, 3, 17, 3 * side, 2 * side)
    assert want.min() >= -1 and want.max() <= 1 and want.std() > 0.01
    assert close(torch.cat(list(network.decode_stream(latents, chunk)), dim=2), want)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (11, 3)])
def test_encoding_repeats_the_last_frame(network: Taehv, frames: int, latents: int) -> None:
    side = 8 * network.config.patch
    video = random(1, 3, frames, side, 2 * side).clamp(-1, 1)
    want = network.encode(video)
    assert want.shape == (1, network.config.z_dim, latents, 1, 2)
    padded = torch.cat((video, *[video[:, :, -1:]] * (4 * latents - frames)), dim=2)
    assert torch.equal(network.encode(padded), want)
    pieces = torch.split(video, 3, dim=2)
    assert close(torch.cat(list(network.encode_stream(pieces)), dim=2), want)


def test_what_a_stream_carries_does_not_grow(network: Taehv) -> None:
    state = network.decoder_state()
    assert not state.started and state.nbytes == 0
    held = []
    for _ in network.decode_stream(random(1, network.config.z_dim, LATENTS, 2, 2), state=state):
        held.append(sum(s.untyped_storage().nbytes() for s in state.slots if s is not None))
    # three blocks each, of one frame of 4, 16 and 64 positions
    assert held == [4 * (3 * 8 * 4 + 3 * 6 * 16 + 3 * 4 * 64)] * LATENTS
    assert state.nbytes == held[0]


@pytest.mark.parametrize("item", [2, 4])
@pytest.mark.parametrize(("config", "vae"), [(TAEW21, WAN21), (TAEW22, WAN22)], ids=["2.1", "2.2"])
def test_predicted_bytes_are_those_of_the_live_tensors(
    config: TaehvConfig, vae: VaeDescriptor, item: int
) -> None:
    with torch.device("meta"):
        network = Taehv(config).to({2: torch.bfloat16, 4: torch.float32}[item])
        latents = torch.empty(1, *vae.config.latent_shape(13, 480, 832))
    with LiveBytes([latents, *network.parameters()]) as live:
        for part in network.decode_stream(latents):
            del part
    # the last of the formula is for the convolutions
    predicted = preview_decoding(config, VideoSize(832, 480, 13, 16), item) / 1.36
    assert predicted == pytest.approx(live.peak, rel=0.02)


def test_what_can_not_be_coded_is_refused() -> None:
    network = tiny(SMALL["2.1"])
    for shape in ((1, 3, 0, 8, 8), (1, 3, 1, 12, 8), (1, 3, 1, 8, 4)):
        with pytest.raises(ValueError, match="does not fit stride"):
            network.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="at least 1"):
        list(network.decode_stream(torch.zeros(1, 5, 1, 1, 1), 0))
    decoder = tiny(attrs.evolve(SMALL["2.1"], encoder_width=None))
    with pytest.raises(ValueError, match="only decodes"):
        decoder.encode(torch.zeros(1, 3, 1, 8, 8))


# -- files ----------------------------------------------------------------------------------------------


def loaded(file: Path) -> Taehv:
    component = Component(kind="taehv", load="")
    where = {"device": torch.device("cpu"), "dtype": torch.float32}
    return load_taehv(LoadRequest(slot="preview", component=component, file=file, **where))  # type: ignore[arg-type]


def test_a_file_loads_with_and_without_its_encoder(tmp_path: Path) -> None:
    network = tiny(SMALL["2.2"])
    latents = random(1, 6, 2, 2, 2)
    tensors = network.state_dict()
    for name, kept in (
        ("whole", tensors),
        ("half", {n: t for n, t in tensors.items() if n[0] == "d"}),
    ):
        save_file(kept, tmp_path / f"{name}.safetensors")
        again = loaded(tmp_path / f"{name}.safetensors")
        assert (again.encoder is None) == (name == "half")
        assert torch.equal(again.decode(latents), network.decode(latents))


def test_of_too_many_rows_the_last_count(tmp_path: Path) -> None:
    network = tiny(SMALL["2.1"])
    tensors = network.state_dict()
    name = "decoder.7.conv.weight"
    tensors[name] = torch.cat((torch.full_like(tensors[name], 9.0), tensors[name]))
    save_file(tensors, tmp_path / "a.safetensors")
    latents = random(1, 5, 2, 2, 2)
    assert torch.equal(loaded(tmp_path / "a.safetensors").decode(latents), network.decode(latents))


def test_lighttae_takes_the_latents_of_the_vae_itself(tmp_path: Path) -> None:
    network = tiny(attrs.evolve(SMALL["2.1"], z_dim=16))
    latents = random(1, 16, 2, 2, 2)
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (WAN21.mean, WAN21.std))
    for name, seen in (("taew2_1", latents), ("lighttaew2_1", latents * std + mean)):
        save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
        light = loaded(tmp_path / f"{name}.safetensors")
        assert close(light.decode(latents), network.decode(seen))
        video = random(1, 3, 4, 16, 16).clamp(-1, 1)
        want = network.encode(video)
        assert close(light.encode(video), want if seen is latents else (want - mean) / std)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ({"decoder.22.weight": None}, "do not make a whole tiny preview VAE"),
        ({"decoder.8.weight": torch.zeros(())}, "do not make a whole tiny preview VAE"),
        ({"decoder.22.weight": torch.zeros(2, 4, 3, 3)}, "do not make a whole tiny preview VAE"),
        ({"encoder.0.weight": torch.zeros(0, 3, 3, 3)}, "do not make a whole tiny preview VAE"),
        ({"decoder.1.weight": None}, "not a tiny preview VAE"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence(damage: dict[str, Any], sentence: str) -> None:
    tensors = tiny(SMALL["2.1"]).state_dict() | damage
    source = StateDict({n: t for n, t in tensors.items() if t is not None}, label="mine")
    with pytest.raises(WeightsError, match=rf"^mine: .*{sentence}"):
        taehv_config(source)


def test_a_file_with_a_tensor_missing_inside_is_refused(tmp_path: Path) -> None:
    tensors = tiny(SMALL["2.1"]).state_dict()
    del tensors["decoder.4.conv.2.bias"]
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing \('decoder\.4\.conv\.2\.bias'\)"):
        loaded(tmp_path / "a.safetensors")


def test_a_file_for_other_latents_is_refused() -> None:
    source = StateDict(tiny(SMALL["2.1"]).state_dict(), label="mine")
    verify_taehv(source, {})
    verify_taehv(source, {"z_dim": 5})
    verify_taehv(StateDict(tiny(SMALL["2.2"]).state_dict(), label="mine"), {"z_dim": 6})
    with pytest.raises(WeightsError, match="latents of 5 channels, those of the model have 48"):
        verify_taehv(source, {"z_dim": 48})


@pytest.mark.parametrize(
    ("name", "shape", "refused"),
    [
        ("decoder.4.conv.2.bias", None, True),
        ("decoder.4.conv.2.bias", (9,), True),
        ("decoder.13.conv.weight", (11, 6, 1, 1), True),
        ("decoder.13.conv.weight", (18, 6, 1, 1), False),
        ("decoder.13.conv.weight", (18, 5, 1, 1), True),
        ("encoder.12.conv.weight", None, True),
    ],
)
def test_what_could_not_be_loaded_is_refused_by_the_header(
    name: str, shape: tuple[int, ...] | None, refused: bool
) -> None:
    tensors = tiny(SMALL["2.1"]).state_dict()
    assert name in tensors
    del tensors[name]
    if shape:
        tensors[name] = torch.zeros(shape)
    source = StateDict(tensors, label="mine")
    if not refused:
        verify_taehv(source, {})
        return
    with pytest.raises(WeightsError, match=r"^mine: its tensors do not make a whole tiny preview"):
        verify_taehv(source, {})


# -- colours --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("descriptor", [WAN21, LIGHT21, WAN22])
def test_colours_of_published_latents(descriptor: VaeDescriptor) -> None:
    colours = colours_of(descriptor)
    assert colours is not None and len(colours.rows) == descriptor.channels
    latents = torch.zeros(1, descriptor.channels, 2, 3, 4, dtype=torch.bfloat16)
    latents[:, 2, 1, 0, 0] = 1
    latents[:, 0, 1, 1, 1] = 1000
    pictures = latent_preview(latents, descriptor)
    assert pictures.shape == (1, 3, 2, 3, 4) and pictures.dtype == torch.float32
    base = torch.tensor(colours.base)
    assert torch.allclose(pictures[0, :, 0, 2, 3], base)
    assert torch.allclose(pictures[0, :, 1, 0, 0], base + torch.tensor(colours.rows[2]))
    assert torch.equal(pictures[0, :, 1, 1, 1], torch.tensor(colours.rows[0]).sign())


def test_colours_of_the_bundled_model_are_near_what_it_decodes() -> None:
    file = bundled("tiny/vae.safetensors")
    descriptor = vae_descriptor(open_weights(file))
    vae = load_vae(
        LoadRequest(
            "vae", Component(kind="wan-vae", load=""), file, torch.device("cpu"), torch.float32
        )
    )
    video = draw_clips("gradient", 4, 5, size=(9, 96, 96))
    with torch.no_grad():
        mean, _ = vae.encode(video)
    wanted = mean_colours(video, descriptor.config)
    grey = wanted.mean(dim=(2, 3, 4), keepdim=True).expand_as(wanted)
    near = psnr(latent_preview(mean, descriptor), wanted).mean()
    assert near > 22
    assert near > psnr(grey, wanted).mean() + 4


def test_latents_without_colours_are_told() -> None:
    own = VaeDescriptor("own.safetensors", VaeConfig(z_dim=2), (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(WeightsError, match=r"^no colours are known for the latents of own\.safe"):
        latent_preview(torch.zeros(1, 2, 1, 1, 1), own)
    with pytest.raises(ValueError, match="16 channels are no latents"):
        latent_preview(torch.zeros(1, 16, 1, 1, 1), WAN22)


def test_a_linear_world_is_fitted_exactly() -> None:
    config = VaeConfig(dim_mult=(1, 2), z_dim=4, temporal_downsample=(True,))
    truth = Colours([(0.1, 0.2, -0.3), (0, 0.1, 0), (0.2, 0, 0.1), (-0.1, 0, 0)], (0.05, -0.1, 0))
    latents = random(1, 4, 3, 6, 5).clamp(-1, 1)
    small = truth(latents).repeat_interleave(2, dim=3).repeat_interleave(2, dim=4)
    video = torch.cat((small[:, :, :1], small[:, :, 1:].repeat_interleave(2, dim=2)), dim=2)
    assert torch.allclose(mean_colours(video, config), truth(latents))
    fitted = fit_colours(latents, video, config)
    assert torch.allclose(torch.tensor(fitted.rows), torch.tensor(truth.rows), atol=1e-6)
    assert fitted.base == pytest.approx(truth.base, abs=1e-6)


def test_descriptors_need_no_torch() -> None:
    code = (
        "import sys; from wan_core.models.vae import TAEW22, WAN22, taehv_config, verify_taehv;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
