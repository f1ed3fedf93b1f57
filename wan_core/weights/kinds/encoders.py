"""Recognises encoders of text, pictures and sound, and language models."""

from __future__ import annotations

from collections.abc import Mapping

from wan_core.weights.kinds.base import Identity
from wan_core.weights.kinds.names import Names

__all__ = ["clip_text", "clip_vision", "language_model", "sound_encoder", "t5"]

# (embedding, first block's position bias, second block's, the second block's query, blocks)
_T5 = {
    "official": (
        "token_embedding.weight",
        "blocks.{}.pos_embedding.embedding.weight",
        "blocks.1.attn.q.weight",
        r"blocks\.(\d+)\.",
    ),
    "transformers": (
        "shared.weight",
        "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.block.1.layer.0.SelfAttention.q.weight",
        r"encoder\.block\.(\d+)\.",
    ),
    "llama.cpp": (
        "token_embd.weight",
        "enc.blk.{}.attn_rel_b.weight",
        "enc.blk.1.attn_q.weight",
        r"enc\.blk\.(\d+)\.",
    ),
}


def t5(names: Names) -> Identity | None:
    for dialect, (embedding, bias, query, blocks) in _T5.items():
        tables = (embedding, "encoder.embed_tokens.weight")
        if not (names.size(0, *tables) and names.size(0, bias.format(0))):
            continue
        details = {
            "dim": names.size(1, *tables),
            "layers": names.count(blocks),
            "vocabulary": names.size(0, *tables),
        }
        # T5 shares the first block's table of position biases, UMT5 has one in each block
        shares = names.has(query) and not names.has(bias.format(1))
        sizes = tuple(details.values())
        if shares:
            large = sizes == (4096, 24, 32128)
            model = "T5 v1.1 XXL" if large else ""
            return Identity("t5-encoder", "xxl" if large else "", details, model, dialect)
        model = "UMT5-XXL, the text encoder of every Wan model" * (sizes == (4096, 24, 256384))
        return Identity("umt5-encoder", "", details, model, dialect)
    return None


_VISION = {
    "official": ("visual.patch_embedding.weight", r"visual\.transformer\.(\d+)\."),
    "transformers": (
        "vision_model.embeddings.patch_embedding.weight",
        r"vision_model\.encoder\.layers\.(\d+)\.",
    ),
    "openclip": ("visual.conv1.weight", r"visual\.transformer\.resblocks\.(\d+)\."),
    "transformers, bare": ("embeddings.patch_embedding.weight", r"encoder\.layers\.(\d+)\."),
}
_VISION_MODELS: Mapping[tuple[int, ...], str] = {
    (1280, 32): "CLIP ViT-H/14",
    (1024, 24): "CLIP ViT-L/14",
    (1664, 48): "CLIP ViT-bigG/14",
    (768, 12): "CLIP ViT-B",
}


def clip_vision(names: Names) -> Identity | None:
    for dialect, (patches, layers) in _VISION.items():
        if names.rank(patches) != 4:
            continue
        details = {"dim": names.size(0, patches), "layers": names.count(layers)}
        # SigLIP has no class token, and a bias on its patches
        if names.has(patches.removesuffix("weight") + "bias"):
            return Identity("siglip-vision", "", details, "", dialect)
        model = _VISION_MODELS.get((details["dim"], details["layers"]), "")
        if model and names.any("textual.", "text_model.", "transformer.resblocks."):
            model += ", with its text tower"
        return Identity("clip-vision", "", details, model, dialect)
    return None


def clip_text(names: Names) -> Identity | None:
    forms = {
        "transformers": (
            "text_model.embeddings.token_embedding.weight",
            r"text_model\.encoder\.layers\.(\d+)\.",
        ),
        "openclip": ("token_embedding.weight", r"transformer\.resblocks\.(\d+)\."),
    }
    for dialect, (embedding, layers) in forms.items():
        found = names.count(layers)
        if names.has(embedding) and found:
            dim = names.size(1, embedding)
            variant = {(768, 12): "L", (1280, 32): "G", (1024, 24): "H"}.get((dim, found), "")
            return Identity("clip-text", variant, {"dim": dim, "layers": found}, "", dialect)
    return None


def sound_encoder(names: Names) -> Identity | None:
    """Whisper, as transformers or OpenAI names it, and wav2vec2."""
    for prefix in ("", "model.", "wav2vec2."):
        inner = names.under(prefix) if prefix else names
        if inner.has("encoder.conv1.weight", "encoder.conv2.weight"):
            hf = inner.any("encoder.layers.0.self_attn.q_proj.")
            if hf or inner.any("encoder.blocks.0.attn.query."):
                layers = inner.count(r"encoder\.(?:layers|blocks)\.(\d+)\.")
                details = {"dim": inner.size(0, "encoder.conv1.weight"), "layers": layers}
                large = (details["dim"], layers) == (1280, 32)
                model = "Whisper large" if large else ""
                dialect = "transformers" if hf else "openai"
                return Identity("whisper-encoder", "", details, model, dialect)
        if inner.any("feature_extractor.conv_layers.0."):
            layers = inner.count(r"encoder\.layers\.(\d+)\.")
            dim = inner.size(0, "feature_projection.projection.weight", "post_extract_proj.weight")
            details = {"dim": dim, "layers": layers}
            dialect = "transformers" if inner.any("feature_projection.") else "fairseq"
            return Identity("wav2vec2-encoder", "", details, "", dialect)
    return None


def language_model(names: Names) -> Identity | None:
    forms = {
        "transformers": (
            ("model.embed_tokens.weight", "embed_tokens.weight"),
            r"(?:model\.)?layers\.(\d+)\.self_attn\.",
        ),
        "transformers, with a vision tower": (
            ("model.language_model.embed_tokens.weight", "language_model.embed_tokens.weight"),
            r"(?:model\.)?language_model\.layers\.(\d+)\.",
        ),
        "llama.cpp": (("token_embd.weight",), r"blk\.(\d+)\.attn_"),
        "gpt": (("transformer.wte.weight", "wte.weight"), r"(?:transformer\.)?h\.(\d+)\."),
    }
    for dialect, (embeddings, layers) in forms.items():
        found = names.count(layers) if names.first(embeddings) else 0
        if found:
            details = {
                "dim": names.size(1, *embeddings),
                "layers": found,
                "vocabulary": names.size(0, *embeddings),
            }
            return Identity("language-model", "", details, "", dialect)
    table = "embeddings.word_embeddings.weight"
    words = tuple(f"{prefix}{table}" for prefix in ("", "bert.", "roberta."))
    if names.first(words):
        details = {"dim": names.size(1, *words), "vocabulary": names.size(0, *words)}
        return Identity("bert-encoder", "", details, "", "transformers")
    return None
