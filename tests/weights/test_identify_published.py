"""Every published checkpoint, in each of its dialects and containers, is called by its name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from header_files import write_gguf, write_safetensors, write_shards

from wan_core.models.encoders.dialects import UMT5_HF
from wan_core.models.vae.dialects import DIFFUSERS as VAE_DIFFUSERS
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.weights import Identity, identify, open_weights

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"
Shapes = dict[str, list[int]]

# manifest -> component, variant, a part of the model's title, dialect, some of the sizes
PUBLISHED: Mapping[str, tuple[str, str, str, str, dict[str, int]]] = {
    "bigvgan-16k": ("bigvgan", "", "BigVGAN", "weight norm, old names", {"bands": 80}),
    "bigvgan-16k-parametrized": ("bigvgan", "", "BigVGAN", "weight norm, new names", {"bands": 80}),
    "bigvgan-16k-folded": ("bigvgan", "", "BigVGAN", "weight norm folded", {"upsamplings": 6}),
    "clip-vit-h-14-full-official-checkpoint": (
        "clip-vision", "", "ViT-H/14, with its text tower", "official", {"dim": 1280, "layers": 32},
    ),
    "clip-vit-h-14-visual": ("clip-vision", "", "ViT-H/14", "official", {"dim": 1280, "layers": 32}),
    "clip-vit-h-14-visual.hf": (
        "clip-vision", "", "ViT-H/14", "transformers", {"dim": 1280, "layers": 32},
    ),
    "flashvsr-dit": ("wan-transformer", "t2v", "FlashVSR's transformer", "official", {"dim": 1536}),
    "flashvsr-lq-proj-in": ("flashvsr-projection", "", "LQ projection", "official", {"dim": 1536}),
    "flashvsr-tcdecoder": ("flashvsr-decoder", "", "TCDecoder", "official", {"z_dim": 16}),
    "humo-1.7b": (
        "humo-transformer", "", "HuMo, 1.7 B", "official", {"dim": 1536, "audio_dim": 1536},
    ),
    "humo-17b": ("humo-transformer", "", "HuMo, 17 B", "official", {"dim": 5120, "in_dim": 36}),
    "lightvae-wan2.1-pruned75": ("wan-vae", "2.1", "lightvae", "official", {"z_dim": 16}),
    "longcat-video-13.6b": (
        "longcat-transformer", "", "LongCat-Video, 13.6 B", "official",
        {"dim": 4096, "ffn_dim": 11008, "num_layers": 48, "in_dim": 16, "out_dim": 16, "text_dim": 4096},
    ),
    "longcat-video-13.6b-comfy-layout": (
        "longcat-transformer", "", "LongCat-Video, 13.6 B", "wrapper",
        {"dim": 4096, "ffn_dim": 11008, "num_layers": 48, "in_dim": 16, "out_dim": 16, "text_dim": 4096},
    ),
    "longcat-video-avatar": ("longcat-transformer", "avatar", "Avatar", "official", {"dim": 4096}),
    "longcat-video-avatar-1.5": (
        "longcat-transformer", "avatar-1.5", "Avatar 1.5", "official", {"dim": 4096},
    ),
    "longcat-video-avatar-1.5-int8": (
        "longcat-transformer", "avatar-1.5", "Avatar 1.5", "official", {"ffn_dim": 11008},
    ),
    "longcat-video-cfg_step_lora": (
        "lora", "", "a LoRA for LongCat-Video", "longcat", {"rank": 128, "dim": 4096, "modules": 336},
    ),
    "longcat-video-refinement_lora": (
        "lora", "", "a LoRA for LongCat-Video", "longcat", {"rank": 128, "dim": 4096, "modules": 386},
    ),
    "mmaudio-vae-16k": ("mmaudio-vae", "", "16 kHz", "official", {"z_dim": 20}),
    "ovi-fusion-11b": ("ovi-transformer", "fusion", "Ovi, 11 B", "official", {"dim": 3072}),
    "taew2_1": ("taehv", "2.1", "TAEHV for Wan 2.1", "official", {"z_dim": 16}),
    "taew2_2": ("taehv", "2.2", "TAEHV for Wan 2.2", "official", {"z_dim": 48}),
    "umt5-xxl-encoder": ("umt5-encoder", "", "UMT5-XXL", "official", {"layers": 24}),
    "umt5-xxl-encoder.hf": ("umt5-encoder", "", "UMT5-XXL", "transformers", {"layers": 24}),
    "unilumos-1.3b": ("wan-transformer", "relight", "UniLumos", "official", {"in_dim": 48}),
    "wan2.1-flf2v-14b": ("wan-transformer", "flf2v", "first and last", "official", {"dim": 5120}),
    "wan2.1-i2v-14b": ("wan-transformer", "i2v", "ATI has the same", "official", {"in_dim": 36}),
    "wan2.1-t2v-1.3b": ("wan-transformer", "t2v", "text to video, 1.3 B", "official", {"dim": 1536}),
    "wan2.1-t2v-14b": ("wan-transformer", "t2v", "or one expert of Wan 2.2", "official", {"dim": 5120}),
    "wan2.1-vace-1.3b": ("wan-transformer", "vace", "VACE, 1.3 B", "official", {"dim": 1536}),
    "wan2.1-vace-14b": ("wan-transformer", "vace", "VACE, 14 B", "official", {"dim": 5120}),
    "wan2.1-vae": ("wan-vae", "2.1", "the VAE of Wan 2.1", "official", {"z_dim": 16}),
    "wan2.1-vae.diffusers": ("wan-vae", "2.1", "the VAE of Wan 2.1", "diffusers", {"z_dim": 16}),
    "wan2.2-i2v-a14b": ("wan-transformer", "i2v", "one expert of Wan 2.2 image", "official", {"dim": 5120}),
    "wan2.2-t2v-a14b": ("wan-transformer", "t2v", "or one expert of Wan 2.2", "official", {"dim": 5120}),
    "wan2.2-ti2v-5b": ("wan-transformer", "ti2v", "5 B", "official", {"dim": 3072, "in_dim": 48}),
    "wan2.2-vae": ("wan-vae", "2.2", "Wan 2.2 TI2V 5B", "official", {"z_dim": 48}),
    "wan2.2-vae.diffusers": ("wan-vae", "2.2", "Wan 2.2 TI2V 5B", "diffusers", {"z_dim": 48}),
}  # fmt: skip


def manifest(name: str) -> Shapes:
    table: Shapes = json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))
    return table


def test_no_manifest_is_forgotten() -> None:
    there = {path.name.removesuffix(".json.gz") for path in MANIFESTS.glob("*.json.gz")}
    assert {name for name in there if "-to-" not in name} == set(PUBLISHED)


def check(identity: Identity, name: str, dialect: str | None = None) -> None:
    component, variant, model, own, sizes = PUBLISHED[name]
    assert (identity.component, identity.variant) == (component, variant)
    assert model in identity.model
    assert identity.dialect == (dialect or own)
    assert {key: identity.details.get(key) for key in sizes} == sizes


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_in_every_container_and_behind_every_prefix(tmp_path: Path, name: str) -> None:
    shapes = manifest(name)
    plain = identify(open_weights(write_safetensors(tmp_path / "plain.safetensors", shapes)))
    check(plain, name)
    assert (plain.prefix, plain.precision.scheme) == ("", "bf16")
    is_lora = PUBLISHED[name][0] == "lora"
    for prefix in ("model.diffusion_model.", "diffusion_model.", "model.", "_orig_mod."):
        prefixed = {f"{prefix}{key}": shape for key, shape in shapes.items()}
        path = write_safetensors(tmp_path / "prefixed.safetensors", prefixed)
        if not is_lora:  # whose prefixes are part of its dialect
            assert (found := identify(open_weights(path))) == plain
            assert found.prefix == prefix
    sharded = open_weights(write_shards(tmp_path / "sharded", shapes, 3))
    assert len(sharded.files) == 3
    check(identify(sharded), name)
    gguf = open_weights(write_gguf(tmp_path / "x.gguf", shapes))
    assert {n: gguf.shape(n) for n in gguf.names()} == {n: tuple(s) for n, s in shapes.items()}
    check(identify(gguf), name)
    assert identify(gguf).precision.title == "GGUF F16"


@pytest.mark.parametrize("name", ["taew2_1", "wan2.1-t2v-1.3b", "umt5-xxl-encoder", "bigvgan-16k"])
@pytest.mark.parametrize("wrapped", ["", "generator", "model_state"])
def test_as_a_pickle(tmp_path: Path, name: str, wrapped: str) -> None:
    one = torch.zeros(1)
    # a single number in the file, seen in every shape
    content: Any = {key: one.expand(shape) for key, shape in manifest(name).items()}
    torch.save({wrapped: content} if wrapped else content, tmp_path / "x.pth")
    source = open_weights(tmp_path / "x.pth")
    assert source.container == "pickled state dict"
    check(identify(source), name)
    assert identify(source).precision.scheme == "fp32"


def translated(name: str, translate: Callable[[str], str | None]) -> Shapes:
    return {translate(key) or key: shape for key, shape in manifest(name).items()}


@pytest.mark.parametrize("name", [n for n, one in PUBLISHED.items() if one[0] == "wan-transformer"])
def test_transformers_in_the_names_of_diffusers(tmp_path: Path, name: str) -> None:
    shapes = translated(name, DIFFUSERS.from_official)
    identity = identify(open_weights(write_safetensors(tmp_path / "x.safetensors", shapes)))
    check(identity, name, "diffusers")


def test_other_dialects(tmp_path: Path) -> None:
    vae = translated("wan2.1-vae", VAE_DIFFUSERS.from_official)
    check(identify(open_weights(write_safetensors(tmp_path / "v", vae))), "wan2.1-vae.diffusers")
    text = translated("umt5-xxl-encoder", UMT5_HF.from_official)
    assert "encoder.embed_tokens.weight" not in text  # one of two names is enough
    identity = identify(open_weights(write_safetensors(tmp_path / "t", text)))
    check(identity, "umt5-xxl-encoder", "transformers")


def llama_cpp(name: str) -> str:
    """The name that llama.cpp's converter gives a tensor of the official text encoder."""
    top = {"token_embedding.weight": "token_embd.weight", "norm.weight": "enc.output_norm.weight"}
    inner = {
        "norm1": "attn_norm", "norm2": "ffn_norm", "pos_embedding.embedding": "attn_rel_b",
        "attn.q": "attn_q", "attn.k": "attn_k", "attn.v": "attn_v", "attn.o": "attn_o",
        "ffn.gate.0": "ffn_gate", "ffn.fc1": "ffn_up", "ffn.fc2": "ffn_down",
    }  # fmt: skip
    if name in top:
        return top[name]
    _, block, rest = name.split(".", 2)
    return f"enc.blk.{block}.{inner[rest.removesuffix('.weight')]}.weight"


def test_the_text_encoder_as_llama_cpp_writes_it(tmp_path: Path) -> None:
    shapes = translated("umt5-xxl-encoder", llama_cpp)
    types = {n: "Q8_0" if len(s) == 2 and s[1] % 32 == 0 else "F32" for n, s in shapes.items()}
    identity = identify(open_weights(write_gguf(tmp_path / "x.gguf", shapes, types)))
    check(identity, "umt5-xxl-encoder", "llama.cpp")
    assert identity.precision.scheme == "Q8_0"


def test_the_names_of_openclip(tmp_path: Path) -> None:
    shapes: Shapes = {"visual.conv1.weight": [1280, 3, 14, 14], "visual.class_embedding": [1280]}
    for layer in range(32):
        start = f"visual.transformer.resblocks.{layer}."
        shapes |= {f"{start}attn.in_proj_weight": [3840, 1280], f"{start}ln_1.weight": [1280]}
    path = tmp_path / "x.safetensors"
    check(
        identify(open_weights(write_safetensors(path, shapes))), "clip-vit-h-14-visual", "openclip"
    )
    shapes |= {
        "token_embedding.weight": [49408, 1024],
        "transformer.resblocks.0.ln_1.weight": [1024],
    }
    assert "with its text tower" in identify(open_weights(write_safetensors(path, shapes))).model


def test_ovi_as_the_wrapper_splits_it(tmp_path: Path) -> None:
    shapes = manifest("ovi-fusion-11b")
    for tower, variant in (("video", "video"), ("audio", "audio")):
        for strip in (f"{tower}_model.", ""):
            own = {
                key.removeprefix(strip).replace("modulation.modulation", "modulation"): shape
                for key, shape in shapes.items()
                if key.startswith(f"{tower}_model.")
            }
            identity = identify(open_weights(write_safetensors(tmp_path / "x", own)))
            assert (identity.component, identity.variant) == ("ovi-transformer", variant)
            assert (identity.dialect, identity.details["dim"]) == ("wrapper", 3072)
    merged = {key.removeprefix("video_model."): shape for key, shape in shapes.items()}
    assert identify(open_weights(write_safetensors(tmp_path / "x", merged))).variant == "fusion"


def test_parts_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    vace = {k: s for k, s in manifest("wan2.1-vace-14b").items() if k.startswith("vace")}
    identity = identify(open_weights(write_safetensors(path, vace)))
    assert (identity.component, identity.variant) == ("wan-module", "vace")
    assert identity.details == {"dim": 5120, "num_layers": 8}
    projection = manifest("flashvsr-lq-proj-in")
    prefixed = {f"LQ_proj_in.{key}": shape for key, shape in projection.items()}
    identity = identify(open_weights(write_safetensors(path, prefixed)))
    assert (identity.component, identity.dialect) == ("flashvsr-projection", "wrapper")
    together = manifest("flashvsr-dit") | prefixed
    identity = identify(open_weights(write_safetensors(path, together)))
    assert (identity.component, identity.variant) == ("wan-transformer", "other")
    assert identity.model.startswith("FlashVSR's transformer together")


@pytest.mark.parametrize(
    ("added", "model"),
    [
        ("control_adapter.conv.weight", "camera control"),
        ("face_adapter.fuser_blocks.0.k_norm.weight", "Animate"),
        ("casual_audio_encoder.weights", "speech to video"),
        ("something.else", ""),
    ],
)
def test_a_transformer_with_more_in_it_is_no_plain_one(
    tmp_path: Path, added: str, model: str
) -> None:
    shapes = manifest("wan2.1-i2v-14b") | {added: [4]}
    identity = identify(open_weights(write_safetensors(tmp_path / "x.safetensors", shapes)))
    assert identity.variant == "other"
    assert model in identity.model
