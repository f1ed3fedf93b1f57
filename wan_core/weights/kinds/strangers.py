"""Recognises models of other families, so that a wrong file is called by its name."""

from __future__ import annotations

from wan_core.weights.kinds.base import Identity
from wan_core.weights.kinds.names import Names

__all__ = ["checkpoint", "stranger"]

_SD_UNET = "model.diffusion_model.input_blocks.0.0.weight"

# component, dialect, names (or, with a final dot, beginnings) that all have to be there
CHECKPOINTS = (
    ("sdxl-checkpoint", "official", (_SD_UNET, "conditioner.embedders.")),
    ("sd2-checkpoint", "official", (_SD_UNET, "cond_stage_model.model.")),
    ("sd1-checkpoint", "official", (_SD_UNET, "cond_stage_model.")),
)
MODELS = (
    ("controlnet", "official", ("control_model.",)),
    ("controlnet", "official", ("input_hint_block.",)),
    ("controlnet", "diffusers", ("controlnet_cond_embedding.",)),
    ("controlnet", "diffusers", ("controlnet_blocks.",)),
    ("sdxl-unet", "official", ("input_blocks.0.0.weight", "label_emb.0.0.weight")),
    ("sd-unet", "official", ("input_blocks.0.0.weight",)),
    ("sdxl-unet", "diffusers", ("down_blocks.0.resnets.", "add_embedding.linear_1.weight")),
    ("sd-unet", "diffusers", ("down_blocks.0.resnets.", "mid_block.attentions.0.proj_in.")),
    ("sd3-transformer", "official", ("joint_blocks.0.x_block.",)),
    ("sd3-transformer", "diffusers", ("transformer_blocks.0.norm1_context.", "pos_embed.")),
    (
        "hunyuan-video-transformer",
        "official",
        ("double_blocks.0.", "txt_in.individual_token_refiner."),
    ),
    ("hunyuan-video-transformer", "diffusers", ("context_embedder.token_refiner.",)),
    ("chroma-transformer", "official", ("distilled_guidance_layer.", "double_blocks.0.")),
    ("flux-transformer", "official", ("double_blocks.0.", "single_blocks.0.", "img_in.")),
    ("flux-transformer", "diffusers", ("transformer_blocks.0.", "single_transformer_blocks.0.")),
    ("qwen-image-transformer", "official", ("transformer_blocks.0.img_mod.", "txt_norm.")),
    ("ltx-transformer", "official", ("patchify_proj.", "transformer_blocks.0.", "adaln_single.")),
    ("ltx-transformer", "diffusers", ("proj_in.", "transformer_blocks.0.attn1.", "time_embed.")),
    ("cogvideox-transformer", "diffusers", ("patch_embed.text_proj.", "transformer_blocks.0.")),
    ("mochi-transformer", "official", ("blocks.0.mod_x.", "t5_y_embedder.")),
    ("cosmos-transformer", "official", ("blocks.block0.",)),
    ("cosmos-transformer", "official", ("blocks.0.adaln_modulation_self_attn.",)),
    ("lumina-transformer", "official", ("cap_embedder.", "noise_refiner.0.")),
    ("hidream-transformer", "official", ("caption_projection.0.", "double_stream_blocks.0.")),
    ("pixart-transformer", "official", ("t_block.1.", "y_embedder.", "blocks.0.scale_shift_table")),
    (
        "pixart-transformer",
        "diffusers",
        ("adaln_single.", "caption_projection.", "pos_embed.proj."),
    ),
    ("upscaler", "official", ("conv_first.weight", "body.0.rdb1.")),
    ("upscaler", "official", ("model.0.weight", "model.1.sub.")),
    ("upscaler", "official", ("0.weight", "1.sub.0.RDB1.")),
)


def checkpoint(names: Names) -> Identity | None:
    """A file with all parts of a picture model in it."""
    return _first(names, CHECKPOINTS)


def stranger(names: Names) -> Identity | None:
    """A part of a model of another family."""
    return _first(names, MODELS)


def _first(names: Names, table: tuple[tuple[str, str, tuple[str, ...]], ...]) -> Identity | None:
    for component, dialect, marks in table:
        if all(names.has(mark) if mark[-1] != "." else names.any(mark) for mark in marks):
            return Identity(component, "", {}, "", dialect)
    return None
