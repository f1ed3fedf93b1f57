"""How files name the tensors of the UMT5 encoder: the official ``.pth``, transformers, and llama.cpp."""

from __future__ import annotations

from wan_core.weights.dialects import Dialect, renaming

__all__ = ["UMT5_DIALECTS", "UMT5_HF", "UMT5_LLAMA", "UMT5_OFFICIAL"]

# the SentencePiece model that single-file re-packs carry along
TOKENIZER = ("spiece_model",)

TABLE = [
    ("token_embedding.weight", "shared.weight"),
    ("token_embedding.weight", "encoder.embed_tokens.weight"),
    ("norm.weight", "encoder.final_layer_norm.weight"),
    ("blocks.{i}.norm1.{*}", "encoder.block.{i}.layer.0.layer_norm.{*}"),
    (
        "blocks.{i}.pos_embedding.embedding.{*}",
        "encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias.{*}",
    ),
    ("blocks.{i}.attn.{*}", "encoder.block.{i}.layer.0.SelfAttention.{*}"),
    ("blocks.{i}.norm2.{*}", "encoder.block.{i}.layer.1.layer_norm.{*}"),
    ("blocks.{i}.ffn.gate.0.{*}", "encoder.block.{i}.layer.1.DenseReluDense.wi_0.{*}"),
    ("blocks.{i}.ffn.fc1.{*}", "encoder.block.{i}.layer.1.DenseReluDense.wi_1.{*}"),
    ("blocks.{i}.ffn.fc2.{*}", "encoder.block.{i}.layer.1.DenseReluDense.wo.{*}"),
]

UMT5_OFFICIAL = Dialect(
    name="official",
    component="umt5-encoder",
    detect=lambda names: "token_embedding.weight" in names,
    to_official=lambda name: None if name in TOKENIZER else name,
    from_official=lambda name: name,
    ignores=TOKENIZER,
)

_to_official, _from_official = renaming(TABLE)
UMT5_HF = Dialect(
    name="transformers",
    component="umt5-encoder",
    # some files hold the embedding under the encoder's name only
    detect=lambda names: bool({"shared.weight", "encoder.embed_tokens.weight"} & names),
    to_official=_to_official,
    from_official=_from_official,
    ignores=TOKENIZER,
)

_to_official, _from_official = renaming(
    [
        ("token_embedding.weight", "token_embd.weight"),
        ("norm.weight", "enc.output_norm.weight"),
        ("blocks.{i}.norm1.weight", "enc.blk.{i}.attn_norm.weight"),
        ("blocks.{i}.pos_embedding.embedding.weight", "enc.blk.{i}.attn_rel_b.weight"),
        *(
            (f"blocks.{{i}}.attn.{one}.weight", f"enc.blk.{{i}}.attn_{one}.weight")
            for one in "qkvo"
        ),
        ("blocks.{i}.norm2.weight", "enc.blk.{i}.ffn_norm.weight"),
        ("blocks.{i}.ffn.gate.0.weight", "enc.blk.{i}.ffn_gate.weight"),
        ("blocks.{i}.ffn.fc1.weight", "enc.blk.{i}.ffn_up.weight"),
        ("blocks.{i}.ffn.fc2.weight", "enc.blk.{i}.ffn_down.weight"),
    ]
)
UMT5_LLAMA = Dialect(
    name="llama.cpp",
    component="umt5-encoder",
    detect=lambda names: {"token_embd.weight", "enc.blk.0.attn_rel_b.weight"} <= names,
    to_official=_to_official,
    from_official=_from_official,
)

UMT5_DIALECTS = (UMT5_OFFICIAL, UMT5_HF, UMT5_LLAMA)
