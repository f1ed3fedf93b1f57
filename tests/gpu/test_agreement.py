"""On a GPU: every path agrees with its float32 reference on the CPU, and memory is what was predicted.

Skipped where there is no CUDA device; a machine with one runs ``pytest tests/gpu``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

import wan_core.models
from wan_core.contract.conditioning import Conditioning, Timed
from wan_core.contract.descriptions import Family
from wan_core.contract.lazy import resolve
from wan_core.contract.requests import GivenFrames, LoadRequest, PictureRequest, VideoSize
from wan_core.media import signed
from wan_core.models.encoders import ClipConfig, ClipVision
from wan_core.models.encoders.clip import build_clip
from wan_core.models.families import TINY_I2V, TINY_T2V
from wan_core.models.vae import WAN21, WAN22, VaeDescriptor, WanVAE
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.models.wan.pictures import as_channels
from wan_core.planning.known import tokens
from wan_core.planning.predict import (
    clip_activations,
    transformer_activations,
    vae_decoding,
    vae_encoding,
)
from wan_core.sampling import SamplerState, build_guidance, noise_sources, sample, start_latents

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
TINY = Path(wan_core.models.__file__).parent


@pytest.fixture(autouse=True)
def _exact_float32() -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def load(
    slot: str,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    family: Family = TINY_T2V,
) -> Any:
    component = family.components[slot]
    assert component.bundled
    file = TINY / component.bundled
    return resolve(component.load)(LoadRequest(slot, component, file, device, dtype))


def error(got: Tensor, want: Tensor) -> float:
    return float((got.cpu().double() - want.double()).abs().max() / want.double().abs().max())


class Loaded:
    """The components of the tiny image-to-video family (protocol ``Components``)."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.how = (device, dtype, TINY_I2V)

    def get(self, slot: str) -> Any:
        return load(slot, *self.how)

    def release(self, slot: str) -> None:
        """Nothing is kept."""

    def details(self, slot: str) -> Mapping[str, Any]:
        return {}


@contextmanager
def untold(*_: object, **__: object) -> Iterator[Callable[[int], None]]:
    yield lambda done: None


def shown(picture: np.ndarray, device: torch.device, dtype: torch.dtype) -> Conditioning:
    """What the image-to-video family is told of a first frame."""
    frames = torch.from_numpy(signed(picture)).permute(2, 0, 1)[:, None]
    request = PictureRequest(
        "video",
        (GivenFrames("image", 0, frames, picture),),
        TINY_I2V,
        VideoSize(96, 96, 33, 12),
        Loaded(device, dtype),
        device,
        dtype,
        untold,
    )
    return as_channels(request, Conditioning())


def generate(
    device: torch.device,
    dtype: torch.dtype,
    text: Tensor,
    empty: Tensor,
    family: Family = TINY_T2V,
    given: Conditioning = Conditioning(),  # noqa: B008 - it is frozen
) -> Tensor:
    denoiser = load("transformer", device, dtype, family)
    assert isinstance(denoiser, WanDenoiser)
    setup = resolve("wan_core.sampling.recipes:unipc")(8, 3.0)
    noise = noise_sources(5, ["video"])
    shapes = {"video": (1, 16, 9, 12, 12)}
    latents = start_latents(setup.schedule, shapes, noise, device=device)

    def told(rows: Tensor) -> dict[str, Timed]:
        return {"video": Timed(rows[None].to(device, dtype))}

    conditioning = attrs.evolve(given, text=told(text)).with_branch("uncond", text=told(empty))
    state = SamplerState.start(setup, latents, noise)
    return sample(
        denoiser, setup.schedule, state, conditioning=conditioning, guidance=build_guidance(4.0)
    )["video"]


def test_text_to_video_agrees_with_the_cpu() -> None:
    prompts = ["a large red circle moves right on a black background", ""]
    on_cpu = load("text_encoder", CPU).encode(prompts)
    on_gpu = load("text_encoder", GPU).encode(prompts)
    assert max(error(g, c) for g, c in zip(on_gpu, on_cpu, strict=True)) < 1e-5

    latents = generate(CPU, torch.float32, *on_cpu)
    assert error(generate(GPU, torch.float32, *on_cpu), latents) < 1e-3
    # 16 bits drift along the way; the video is the same to the eye
    half = generate(GPU, torch.bfloat16, *on_cpu)
    assert float((half.cpu() - latents).pow(2).mean().sqrt() / latents.std()) < 0.15

    vae, vae_gpu = load("vae", CPU), load("vae", GPU)
    assert isinstance(vae, WanVAE)
    assert isinstance(vae_gpu, WanVAE)
    frames = torch.cat(list(vae.decode_stream(latents)), dim=2)
    streamed = torch.cat([f.cpu() for f in vae_gpu.decode_stream(latents)], dim=2)
    assert error(streamed, frames) < 1e-4
    mean, _ = vae_gpu.encode(frames.to(GPU))
    assert error(mean, vae.encode(frames)[0]) < 1e-4


def test_image_to_video_agrees_with_the_cpu() -> None:
    rows = load("text_encoder", CPU).encode(["a small red circle moves right", ""])
    y, x = np.mgrid[:96, :96]
    disc = ((x - 30) ** 2 + (y - 40) ** 2 < 200)[..., None]
    picture = np.where(disc, (230, 30, 30), (10, 10, 90)).astype(np.uint8)
    on_cpu, on_gpu = (shown(picture, device, torch.float32) for device in (CPU, GPU))
    for slot in ("concat", "image_tokens"):
        one, other = (getattr(told, slot)["video"] for told in (on_cpu, on_gpu))
        one, other = (t[0] if isinstance(t, tuple) else t for t in (one, other))
        assert error(other.value, one.value) < 1e-4

    latents = generate(CPU, torch.float32, *rows, TINY_I2V, on_cpu)
    assert error(generate(GPU, torch.float32, *rows, TINY_I2V, on_gpu), latents) < 1e-3
    told = shown(picture, GPU, torch.bfloat16)
    half = generate(GPU, torch.bfloat16, *rows, TINY_I2V, told)
    assert float((half.cpu() - latents).pow(2).mean().sqrt() / latents.std()) < 0.15


def test_a_timestep_per_frame_costs_no_memory() -> None:
    """Wan 2.2 5B at 1280x704, 121 frames: a clean first frame has its own timestep, not a row per token."""
    config = WanConfig(dim=3072, ffn_dim=14336, num_heads=24, num_layers=2, in_dim=48, out_dim=48)
    with GPU:
        transformer = WanTransformer(config).to(torch.bfloat16).eval()
    latents = torch.randn(1, 48, 31, 44, 80, device=GPU)
    text = torch.randn(1, 512, 4096, device=GPU, dtype=torch.bfloat16)
    per_frame = torch.full((1, 31), 500.0, device=GPU)
    per_frame[:, 0] = 0
    peaks = []
    for timesteps in (torch.tensor([500.0], device=GPU), per_frame):
        weights = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        with torch.no_grad():
            transformer(latents, timesteps, text)
        peaks.append(torch.cuda.max_memory_allocated() - weights)
    print(f"5B at 1280x704x121 bf16: {peaks[0] / 1e9:.2f} GB, per frame {peaks[1] / 1e9:.2f} GB")
    assert peaks[1] <= 1.15 * peaks[0]


@pytest.mark.parametrize("descriptor", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_the_peak_of_decoding_is_as_predicted_and_does_not_grow_with_frames(
    descriptor: VaeDescriptor,
) -> None:
    dtype = torch.bfloat16
    vae = WanVAE.of(descriptor).to(GPU, dtype).eval()
    weights = torch.cuda.memory_allocated()
    peaks = []
    for frames in (9, 33):
        latents = torch.randn(1, *descriptor.latent_shape(frames, 480, 832))
        torch.cuda.reset_peak_memory_stats()
        for chunk in vae.decode_stream(latents):
            del chunk
        peaks.append(torch.cuda.max_memory_allocated() - weights)
    assert abs(peaks[1] - peaks[0]) <= 0.02 * peaks[0]
    predicted = vae_decoding(descriptor.config, VideoSize(832, 480, 33, 16), 2)
    print(f"decode 832x480 bf16: predicted {predicted / 1e9:.2f} GB, real {peaks[1] / 1e9:.2f} GB")
    assert 0.8 * peaks[1] <= predicted <= 1.25 * peaks[1]


@pytest.mark.parametrize("descriptor", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_the_peak_of_encoding_is_as_predicted(descriptor: VaeDescriptor) -> None:
    dtype = torch.bfloat16
    vae = WanVAE.of(descriptor).to(GPU, dtype).eval()
    frames = (torch.randn(1, 3, 1, 480, 832) for _ in range(13))
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for latents in vae.encode_stream(frames):
        del latents
    real = torch.cuda.max_memory_allocated() - weights
    predicted = vae_encoding(descriptor.config, VideoSize(832, 480, 13, 16), 2)
    print(f"encode 832x480 bf16: predicted {predicted / 1e9:.2f} GB, real {real / 1e9:.2f} GB")
    assert 0.8 * real <= predicted <= 1.25 * real


WIDTHS_1_3B = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12}
WIDTHS_14B = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40}


@pytest.mark.parametrize(
    ("name", "sizes", "more"),
    [
        ("1.3B", WIDTHS_1_3B, {}),
        ("14B", WIDTHS_14B, {}),
        ("14B in small pieces", WIDTHS_14B, {"rows": 2048}),
        ("14B in one piece", WIDTHS_14B, {"rows": 10**6}),
        ("14B with image tokens", WIDTHS_14B, {"in_dim": 36, "image_dim": 1280}),
        ("1.3B with hints", WIDTHS_1_3B, {"vace_layers": (0, 2), "vace_in_dim": 96}),
        ("14B with hints", WIDTHS_14B, {"vace_layers": (0, 2), "vace_in_dim": 96}),
    ],
)
def test_the_peak_of_the_transformer_is_as_predicted(
    name: str, sizes: dict[str, int], more: dict[str, Any]
) -> None:
    size = VideoSize(832, 480, 81, 16)
    more = dict(more)
    pieces = more.pop("rows", None)
    config = WanConfig(**sizes, num_layers=4, **more)
    with GPU:
        transformer = WanTransformer(config).to(torch.bfloat16).eval()
    transformer.rows = pieces or transformer.rows
    latents = torch.randn(1, config.in_dim, 21, 60, 104, device=GPU)
    text = torch.randn(1, 512, 4096, device=GPU, dtype=torch.bfloat16)
    told: dict[str, Any] = {}
    if config.image_dim:
        told["image_tokens"] = torch.randn(1, 257, 1280, device=GPU, dtype=torch.bfloat16)
    if config.vace_layers:
        told["add_ons"] = {"vace": {"context": torch.randn(1, 96, 21, 60, 104, device=GPU)}}
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        transformer(latents, torch.tensor([500.0], device=GPU), text, **told)
    real = torch.cuda.max_memory_allocated() - weights
    rows = 257 if config.image_dim else 0
    predicted = transformer_activations(config, tokens(size), 2, image_rows=rows, rows=pieces)
    print(
        f"{name} at 832x480x81 bf16: predicted {predicted / 1e9:.2f} GB, real {real / 1e9:.2f} GB"
    )
    assert 0.8 * real <= predicted <= 1.25 * real


def test_the_peak_of_image_tokens_is_as_predicted() -> None:
    config = ClipConfig(224, 14, 1280, 5120, 16, 32)
    model = build_clip(config).to(torch.bfloat16).to_empty(device=GPU)
    model.embeddings.position_ids = torch.arange(config.tokens, device=GPU)[None]
    clip = ClipVision(model, config)
    for pictures in (1, 2):
        pixels = torch.randn(pictures, 3, 224, 224)
        clip.encode(pixels)
        weights = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        clip.encode(pixels)
        real = torch.cuda.max_memory_allocated() - weights
        predicted = clip_activations(config, pictures, 2)
        print(f"CLIP, {pictures}: predicted {predicted / 1e6:.1f} MB, real {real / 1e6:.1f} MB")
        assert 0.5 * real <= predicted <= 2 * real  # kilobytes beside gigabytes
