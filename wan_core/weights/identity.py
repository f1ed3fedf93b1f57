"""Telling from the header alone what a checkpoint is, to plan with and to name a misplaced file."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from wan_core.weights.prefixes import strip_prefixes
from wan_core.weights.sources import TensorSource

__all__ = ["TITLES", "Identity", "identify"]

TITLES = {
    "wan-transformer": "a Wan transformer",
    "wan-vae": "a Wan VAE",
    "umt5-encoder": "a UMT5 text encoder",
    "t5-encoder": "a T5 text encoder (not UMT5)",
    "clip-vision": "a CLIP vision tower",
    "lora": "a LoRA",
    "unknown": "of no known kind",
}


@attrs.frozen
class Identity:
    """What a checkpoint is.

    Attributes:
        component: ``"wan-transformer"``, ``"wan-vae"``, ``"umt5-encoder"``, ``"t5-encoder"``,
            ``"clip-vision"``, ``"lora"`` or ``"unknown"``.
        variant: for a transformer ``"t2v"``, ``"i2v"``, ``"flf2v"``, ``"vace"`` or ``"ti2v"``; for
            a VAE ``"2.1"`` or ``"2.2"``; ``""`` where there is only one, ``"other"`` for parts or
            sizes beyond these. Models with the same tensors cannot be told apart (ATI looks like
            image-to-video).
        details: sizes that shape the module, named as configurations name them: ``dim``,
            ``ffn_dim``, ``num_layers``, ``in_dim``, ``out_dim``, ``text_dim`` of a transformer,
            ``z_dim`` of a VAE, ``dim``, ``layers``, ``vocabulary`` of a text encoder, ``dim`` and
            ``layers`` of a vision tower.
    """

    component: str
    variant: str = ""
    details: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def title(self) -> str:
        """For a sentence: ``"a Wan VAE"``."""
        return TITLES.get(self.component, self.component)

    def __str__(self) -> str:
        notes = [self.variant] * (self.variant not in ("", "other"))
        notes += [f"{name} {value}" for name, value in self.details.items()]
        return f"{self.title} ({', '.join(notes)})" if notes else self.title


def identify(source: TensorSource, component: str | None = None) -> Identity:
    """Say what ``source`` holds.

    Args:
        component: the kind hoped for, which decides in a file that holds several components.
    """
    names = _Names(strip_prefixes(source, component))
    recognisers = (_lora, _wan_transformer, _wan_vae, _t5, _clip_vision)
    found = (recogniser(names) for recogniser in recognisers)
    return next((identity for identity in found if identity), Identity("unknown"))


class _Names:
    """The names and shapes of a file, with the questions that recognisers ask."""

    def __init__(self, source: TensorSource) -> None:
        self.shapes = {name: info.shape for name, info in source.tensors.items()}

    def has(self, *names: str) -> bool:
        return all(name in self.shapes for name in names)

    def size(self, axis: int, *names: str) -> int:
        """Size of that axis of the first of ``names`` that is there; 0 when none fits."""
        shape = next((self.shapes[name] for name in names if name in self.shapes), ())
        return shape[axis] if axis < len(shape) else 0

    def count(self, pattern: str) -> int:
        """How many different numbers the group of ``pattern`` matches at the start of a name."""
        return len({m[1] for m in (re.match(pattern, name) for name in self.shapes) if m})


def _lora(names: _Names) -> Identity | None:
    ends = (".lora_down.weight", ".lora_A.weight", ".lora_A.default.weight", ".lora_A", ".diff")
    return Identity("lora") if any(name.endswith(ends) for name in names.shapes) else None


# official names and those of diffusers
WAN_PARTS = {"patch_embedding", "text_embedding", "time_embedding", "time_projection", "head"}
WAN_PARTS |= {"blocks", "img_emb", "vace_patch_embedding", "vace_blocks"}
WAN_PARTS |= {"condition_embedder", "scale_shift_table", "proj_out"}
WAN_BLOCK_PARTS = {"self_attn", "cross_attn", "ffn", "modulation", "norm3"}
WAN_BLOCK_PARTS |= {"attn1", "attn2", "norm2", "scale_shift_table"}


def _wan_transformer(names: _Names) -> Identity | None:
    official = names.has("patch_embedding.weight", "blocks.0.self_attn.q.weight")
    diffusers = names.has("patch_embedding.weight", "blocks.0.attn1.to_q.weight")
    patch = names.shapes.get("patch_embedding.weight", ())
    if not (official or diffusers) or len(patch) != 5:
        return None
    dim, in_dim, *cells = patch
    # the head predicts a whole patch of latents per token
    out = names.size(0, "head.head.weight", "proj_out.weight")
    out_dim = out // max(1, cells[0] * cells[1] * cells[2])
    text = ("text_embedding.0.weight", "condition_embedder.text_embedder.linear_1.weight")
    details = {
        "dim": dim,
        "ffn_dim": names.size(0, "blocks.0.ffn.0.weight", "blocks.0.ffn.net.0.proj.weight"),
        "num_layers": names.count(r"blocks\.(\d+)\."),
        "in_dim": in_dim,
        "out_dim": out_dim,
        "text_dim": names.size(1, *text),
    }
    return Identity("wan-transformer", _wan_variant(names, in_dim, out_dim), details)


def _wan_variant(names: _Names, in_dim: int, out_dim: int) -> str:
    parts = {name.split(".")[0] for name in names.shapes}
    of_block = {name.split(".")[2] for name in names.shapes if name.startswith("blocks.0.")}
    if not (parts <= WAN_PARTS and of_block <= WAN_BLOCK_PARTS):
        return "other"
    if "vace_blocks" in parts:
        return "vace"
    if names.has("img_emb.emb_pos") or names.has("condition_embedder.image_embedder.pos_embed"):
        return "flf2v"
    # image-to-video appends a mask of 4 channels and the encoded picture to the noisy latents
    if in_dim == 2 * out_dim + 4:
        return "i2v"
    if in_dim == out_dim:
        return "ti2v" if out_dim == 48 else "t2v"
    return "other"


def _wan_vae(names: _Names) -> Identity | None:
    into = ("decoder.conv1.weight", "decoder.conv_in.weight")
    head = ("decoder.head.2.weight", "decoder.conv_out.weight")
    # picture VAEs of other models have the same names with 4 axes
    is_video = any(len(names.shapes.get(name, ())) == 5 for name in into)
    if not is_video or not names.size(0, *head):
        return None
    # the 2.2 VAE works on 2 x 2 pixel patches
    variant = {3: "2.1", 12: "2.2"}.get(names.size(0, *head), "other")
    return Identity("wan-vae", variant, {"z_dim": names.size(1, *into)})


def _t5(names: _Names) -> Identity | None:
    def rows(block: int, official: str, hf: str) -> int:
        in_hf = f"encoder.block.{block}.layer.0.SelfAttention.{hf}.weight"
        return names.size(0, f"blocks.{block}.{official}.weight", in_hf)

    def biases(block: int) -> int:
        return rows(block, "pos_embedding.embedding", "relative_attention_bias")

    embedding = ("token_embedding.weight", "shared.weight", "encoder.embed_tokens.weight")
    if not (names.size(0, *embedding) and biases(0)):
        return None
    # T5 shares the first block's table of position biases, UMT5 has one in each block
    shares = rows(1, "attn.q", "q") and not biases(1)
    details = {
        "dim": names.size(1, *embedding),
        "layers": names.count(r"(?:encoder\.)?blocks?\.(\d+)\."),
        "vocabulary": names.size(0, *embedding),
    }
    return Identity("t5-encoder" if shares else "umt5-encoder", "", details)


def _clip_vision(names: _Names) -> Identity | None:
    patch = (
        "visual.patch_embedding.weight",
        "vision_model.embeddings.patch_embedding.weight",
        "visual.conv1.weight",
    )
    if not names.size(0, *patch):
        return None
    layers = r"(?:visual\.transformer(?:\.resblocks)?|vision_model\.encoder\.layers)\.(\d+)\."
    details = {"dim": names.size(0, *patch), "layers": names.count(layers)}
    return Identity("clip-vision", "", details)
