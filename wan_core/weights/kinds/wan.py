"""Recognises the transformers of Wan and those built on its block: HuMo, Ovi, LongCat-Video."""

from __future__ import annotations

from wan_core.weights.kinds.base import Identity
from wan_core.weights.kinds.names import Names

__all__ = ["humo", "longcat", "ovi", "wan_module", "wan_transformer"]

# official names and those of diffusers
PARTS = {"patch_embedding", "text_embedding", "time_embedding", "time_projection", "head"}
PARTS |= {"blocks", "img_emb", "vace_patch_embedding", "vace_blocks"}
PARTS |= {"condition_embedder", "scale_shift_table", "proj_out"}
BLOCK_PARTS = {"self_attn", "cross_attn", "ffn", "modulation", "norm3"}
BLOCK_PARTS |= {"attn1", "attn2", "norm2", "scale_shift_table"}

_B1, _B5, _B14 = (1536, 30), (3072, 30), (5120, 40)
"""Width and blocks of the published sizes."""

# (variant, size, has attention to CLIP's image tokens) -> the published models with these tensors
MODELS = {
    (
        "t2v",
        _B1,
        False,
    ): "Wan 2.1 text to video, 1.3 B (FlashVSR's transformer has the same tensors)",
    (
        "t2v",
        _B14,
        False,
    ): "Wan 2.1 text to video, 14 B, or one expert of Wan 2.2 text to video A14B",
    ("i2v", _B14, True): "Wan 2.1 image to video, 14 B (ATI has the same tensors)",
    ("i2v", _B14, False): "one expert of Wan 2.2 image to video A14B",
    ("i2v", _B1, True): "Wan Fun image to video, 1.3 B",
    ("flf2v", _B14, True): "Wan 2.1 first and last frame to video, 14 B",
    ("vace", _B1, False): "Wan 2.1 VACE, 1.3 B",
    ("vace", _B14, False): "Wan 2.1 VACE, 14 B",
    ("ti2v", _B5, False): "Wan 2.2 text and image to video, 5 B",
    ("relight", _B1, False): "UniLumos, 1.3 B",
}
# a part that only this model has -> the model
EXTENDED = {
    "control_adapter": "Wan Fun with camera control",
    "ref_conv": "Wan Fun control with a reference picture",
    "face_adapter": "Wan 2.2 Animate",
    "casual_audio_encoder": "Wan 2.2 speech to video",
    "LQ_proj_in": "FlashVSR's transformer together with its projection",
    "audio_proj": "MultiTalk or InfiniteTalk",
    "dwpose_embedding": "UniAnimate",
}


def wan_transformer(names: Names) -> Identity | None:
    dialect = _dialect(names)
    if not dialect or names.rank("patch_embedding.weight") != 5:
        return None
    details = _sizes(names)
    variant = _variant(names, details["in_dim"], details["out_dim"])
    size = (details["dim"], details["num_layers"])
    sees_images = names.any("blocks.0.cross_attn.k_img.", "blocks.0.attn2.add_k_proj.")
    model = MODELS.get((variant, size, sees_images), "")
    if variant == "other":
        extra = next((part for part in EXTENDED if part in names.parts()), "")
        model = EXTENDED.get(extra, "Wan Fun control" if sees_images else "")
    return Identity("wan-transformer", variant, details, model, dialect)


def _dialect(names: Names) -> str:
    first = names.first(
        f"blocks.0.{name}.weight" for name in ("self_attn.q", "attn1.to_q", "attn1.to_qkv")
    )
    if first.endswith("to_qkv.weight"):
        return "diffusers, with fused attention"
    return "" if not first else "official" if "self_attn" in first else "diffusers"


def _sizes(names: Names) -> dict[str, int]:
    dim, in_dim, *cells = names.shapes["patch_embedding.weight"]
    # the head predicts a whole patch of latents per token
    out = names.size(0, "head.head.weight", "proj_out.weight")
    text = ("text_embedding.0.weight", "condition_embedder.text_embedder.linear_1.weight")
    return {
        "dim": dim,
        "ffn_dim": names.size(0, "blocks.0.ffn.0.weight", "blocks.0.ffn.net.0.proj.weight"),
        "num_layers": names.count(r"blocks\.(\d+)\."),
        "in_dim": in_dim,
        "out_dim": out // max(1, cells[0] * cells[1] * cells[2]),
        "text_dim": names.size(1, *text),
    }


def _variant(names: Names, in_dim: int, out_dim: int) -> str:
    if not (names.parts() <= PARTS and names.parts("blocks.0.") <= BLOCK_PARTS):
        return "other"
    if names.any("vace_blocks."):
        return "vace"
    if names.has("img_emb.emb_pos") or names.has("condition_embedder.image_embedder.pos_embed"):
        return "flf2v"
    # image-to-video appends a mask of 4 channels and the encoded picture to the noisy latents
    if in_dim == 2 * out_dim + 4:
        return "i2v"
    if in_dim == out_dim:
        return "ti2v" if out_dim == 48 else "t2v"
    sees_images = names.any("img_emb.", "condition_embedder.image_embedder.")
    return "relight" if in_dim == 3 * out_dim and not sees_images else "other"


def wan_module(names: Names) -> Identity | None:
    """A file with only what a model adds to a Wan transformer."""
    if not names.any("vace_blocks.0.") or names.any("blocks.0."):
        return None
    dim = names.size(0, "vace_blocks.0.norm3.weight", "vace_blocks.0.norm2.weight")
    details = {"dim": dim, "num_layers": names.count(r"vace_blocks\.(\d+)\.")}
    model = "the VACE blocks of Wan 2.1 VACE, without the transformer they extend"
    dialect = "official" if names.any("vace_blocks.0.self_attn.") else "diffusers"
    return Identity("wan-module", "vace", details, model, dialect)


def humo(names: Names) -> Identity | None:
    added = "blocks.0.audio_cross_attn_wrapper.audio_cross_attn.k.weight"
    if not names.has(added) or names.rank("patch_embedding.weight") != 5:
        return None
    details = {**_sizes(names), "audio_dim": names.size(1, added)}
    size = (details["dim"], details["num_layers"])
    model = {_B1: "HuMo, 1.7 B", _B14: "HuMo, 17 B"}.get(size, "")
    return Identity("humo-transformer", "", details, model, "official")


def ovi(names: Names) -> Identity | None:
    """Both towers in one file, or one of them by itself."""
    # the wrapper's files have the prefix of the sound tower only, or none
    video = names.under("video_model.") if names.any("video_model.") else names
    sound = names.under("audio_model.") if names.any("audio_model.") else names
    fused = "blocks.0.cross_attn.k_fusion.weight"
    has_video = video.has(fused) and video.rank("patch_embedding.weight") == 5
    has_sound = sound.has(fused) and sound.rank("patch_embedding.0.weight") == 3
    if not (has_video or has_sound):
        return None
    tower = video if has_video else sound
    dialect = "official" if tower.any("blocks.0.modulation.modulation") else "wrapper"
    if not has_video:
        details = {
            "dim": sound.size(0, "patch_embedding.0.weight"),
            "num_layers": sound.count(r"blocks\.(\d+)\."),
            "in_dim": sound.size(1, "patch_embedding.0.weight"),
        }
        return Identity("ovi-transformer", "audio", details, "Ovi's tower for sound", dialect)
    variant, model = ("fusion", "Ovi, 11 B") if has_sound else ("video", "Ovi's tower for video")
    return Identity("ovi-transformer", variant, _sizes(video), model, dialect)


# dialect -> modules of patches, text and head
_LONGCAT = {
    "official": ("x_embedder.proj", "y_embedder.y_proj.0", "final_layer.linear"),
    "wrapper": ("patch_embedding", "text_embedding.0", "head.head"),
    "fastvideo": ("patch_embed.proj", "caption_embedder.linear_1", "final_layer.proj"),
}


def longcat(names: Names) -> Identity | None:
    marks = {
        "official": "blocks.0.adaLN_modulation.1.weight",
        "wrapper": "blocks.0.modulation.1.weight",
        "fastvideo": "blocks.0.adaln_linear_1.weight",
    }
    dialect = next((one for one, mark in marks.items() if names.has(mark)), "")
    if not dialect or not names.has("blocks.0.ffn.w1.weight"):
        return None
    patches, text, head = (f"{module}.weight" for module in _LONGCAT[dialect])
    if names.rank(patches) != 5:
        return None
    details = {
        "dim": names.size(0, patches),
        "ffn_dim": names.size(0, "blocks.0.ffn.w1.weight"),
        "num_layers": names.count(r"blocks\.(\d+)\."),
        "in_dim": names.size(1, patches),
        "out_dim": names.size(0, head) // 4,
        "text_dim": names.size(1, text),
    }
    variant, model = "", "LongCat-Video, 13.6 B"
    if names.any("audio_proj.", "blocks.0.audio_cross_attn."):
        variant, model = "avatar", "LongCat-Video-Avatar"
        # 5 frames of Whisper's 5 x 1280 features, where the first version took wav2vec2's 12 x 768
        if names.size(1, "audio_proj.proj1.weight") == 5 * 5 * 1280:
            variant, model = "avatar-1.5", "LongCat-Video-Avatar 1.5"
    return Identity("longcat-transformer", variant, details, model, dialect)
