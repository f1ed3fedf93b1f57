"""Wrong files are called by their names, in the words of the sentence that refuses them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from header_files import write_safetensors

from wan_core.contract.errors import WeightsError
from wan_core.models.wan.dialects import DIALECTS
from wan_core.weights import StateDict, identify, in_official_names, open_weights

Shapes = dict[str, tuple[int, ...]]


def clip(dim: int, layers: int) -> Shapes:
    stem = "text_model.encoder.layers"
    return {"text_model.embeddings.token_embedding.weight": (49408, dim)} | {
        f"{stem}.{layer}.self_attn.q_proj.weight": (dim, dim) for layer in range(layers)
    }


def t5(dim: int, layers: int, vocabulary: int) -> Shapes:
    stem = "encoder.block"
    bias = f"{stem}.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return {"shared.weight": (vocabulary, dim), bias: (32, 64)} | {
        f"{stem}.{layer}.layer.0.SelfAttention.q.weight": (dim, dim) for layer in range(layers)
    }


SDXL: Shapes = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
    "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (768,),
    "conditioner.embedders.1.model.ln_final.weight": (1280,),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
STRANGERS: list[tuple[str, Shapes]] = [
    ("a CLIP-L text encoder (L, dim 768, layers 12)", clip(768, 12)),
    ("a CLIP-G text encoder (G, dim 1280, layers 32)", clip(1280, 32)),
    ("a CLIP text encoder (dim 512, layers 8)", clip(512, 8)),
    (
        "a T5-XXL text encoder (not UMT5) (xxl, dim 4096, layers 24, vocabulary 32128)",
        t5(4096, 24, 32128),
    ),
    ("a T5 text encoder (not UMT5) (dim 768, layers 12, vocabulary 32128)", t5(768, 12, 32128)),
    ("a Stable Diffusion XL checkpoint", SDXL),
    (
        "a Stable Diffusion 1 checkpoint",
        {
            "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
            "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
        },
    ),
    (
        "a Stable Diffusion U-Net",
        {
            "down_blocks.0.resnets.0.conv1.weight": (320, 320, 3, 3),
            "mid_block.attentions.0.proj_in.weight": (1280, 1280),
        },
    ),
    (
        "a Flux transformer",
        {
            "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
            "single_blocks.0.linear1.weight": (21504, 3072),
            "img_in.weight": (3072, 64),
        },
    ),
    (
        "a Flux transformer",
        {
            "x_embedder.weight": (3072, 64),
            "transformer_blocks.0.attn.add_k_proj.weight": (3072, 3072),
            "single_transformer_blocks.0.proj_mlp.weight": (12288, 3072),
        },
    ),
    (
        "a HunyuanVideo transformer",
        {
            "double_blocks.0.img_attn_qkv.weight": (9216, 3072),
            "single_blocks.0.linear1.weight": (21504, 3072),
            "img_in.proj.weight": (3072, 16, 1, 2, 2),
            "txt_in.individual_token_refiner.blocks.0.norm1.weight": (3072,),
        },
    ),
    (
        "an LTX Video transformer",
        {
            "patchify_proj.weight": (2048, 128),
            "transformer_blocks.0.attn1.to_q.weight": (2048, 2048),
            "adaln_single.linear.weight": (12288, 2048),
        },
    ),
    (
        "a Qwen-Image transformer",
        {
            "transformer_blocks.0.img_mod.1.weight": (18432, 3072),
            "txt_norm.weight": (3584,),
        },
    ),
    (
        "a picture VAE (not a video VAE) (z_dim 4)",
        {
            "decoder.conv_in.weight": (512, 4, 3, 3),
            "decoder.conv_out.weight": (3, 128, 3, 3),
            "encoder.conv_in.weight": (128, 3, 3, 3),
        },
    ),
    (
        "a video VAE of another model (not Wan's) (z_dim 16)",
        {"decoder.conv_in.conv.weight": (512, 16, 3, 3, 3)},
    ),
    (
        "a Whisper encoder (dim 1280, layers 32)",
        {
            "model.encoder.conv1.weight": (1280, 128, 3),
            "model.encoder.conv2.weight": (1280, 1280, 3),
        }
        | {f"model.encoder.layers.{i}.self_attn.q_proj.weight": (1280, 1280) for i in range(32)},
    ),
    (
        "a wav2vec2 encoder (dim 768, layers 1)",
        {
            "wav2vec2.feature_extractor.conv_layers.0.conv.weight": (512, 1, 10),
            "wav2vec2.feature_projection.projection.weight": (768, 512),
            "wav2vec2.encoder.layers.0.attention.q_proj.weight": (768, 768),
            "lm_head.weight": (32, 768),
        },
    ),
    (
        "a language model (dim 4096, layers 2, vocabulary 128256)",
        {
            "model.embed_tokens.weight": (128256, 4096),
            "model.layers.0.self_attn.q_proj.weight": (4096, 4096),
            "model.layers.1.self_attn.q_proj.weight": (4096, 4096),
            "lm_head.weight": (128256, 4096),
        },
    ),
    (
        "a language model (dim 4096, layers 1, vocabulary 32000)",
        {"token_embd.weight": (32000, 4096), "blk.0.attn_q.weight": (4096, 4096)},
    ),
    (
        "a SigLIP vision tower (dim 1152, layers 1)",
        {
            "vision_model.embeddings.patch_embedding.weight": (1152, 3, 14, 14),
            "vision_model.embeddings.patch_embedding.bias": (1152,),
            "vision_model.encoder.layers.0.layer_norm1.weight": (1152,),
        },
    ),
    ("of no known kind", {"something.weight": (3, 3)}),
]


@pytest.mark.parametrize(("says", "shapes"), STRANGERS)
@pytest.mark.parametrize("hoped_for", [None, "wan-transformer", "wan-vae", "umt5-encoder"])
def test_named(tmp_path: Path, says: str, shapes: Shapes, hoped_for: str | None) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", shapes, "F16")
    assert str(identify(open_weights(path), hoped_for)) == says


def test_fused_names_are_said_to_be_what_is_wrong() -> None:
    held = {
        "patch_embedding.weight": torch.empty((1536, 16, 1, 2, 2), device="meta"),
        "blocks.0.attn1.to_qkv.weight": torch.empty((4608, 1536), device="meta"),
        "proj_out.weight": torch.empty((64, 1536), device="meta"),
    }
    with pytest.raises(WeightsError, match=r"names that are not read \(diffusers, with fused"):
        in_official_names(StateDict(held, "x"), DIALECTS)


def test_a_plain_wrong_file_in_a_sentence(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "sdxl.safetensors", SDXL)
    with pytest.raises(WeightsError) as caught:
        in_official_names(open_weights(path), DIALECTS)
    assert str(caught.value) == (
        "sdxl.safetensors: this is a Stable Diffusion XL checkpoint, not a Wan transformer."
    )
