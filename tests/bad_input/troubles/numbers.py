"""Weight files whose numbers are not read: quantised ones, and those that are no floats."""

from __future__ import annotations

from makers import manifest_shapes, safetensors, text_encoder, transformer, vae
from table import Case, Trouble

UMT5 = {
    "shared.weight": [8, 4],
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": [32, 1],
    "encoder.block.0.layer.0.SelfAttention.q.weight": [4, 4],
}
WAN = manifest_shapes("wan2.1-t2v-1.3b")()
VAE = manifest_shapes("wan2.1-vae")()
REFUSED = (
    "the file holds quantised weights with scales, which this version does not read; use the bf16 or fp16 "
    "file of the model."
)

TROUBLES = (
    Trouble(
        "The file is quantised",
        "Of weights in fp8 only those without scales are read; not read are `fp8_scaled`, int8, nvfp4, "
        "`comfy_quant`, GGUF and the like.",
        "Use the bf16 or fp16 file of the model. `wan-core inspect FILE` says how a file is stored.",
        (
            Case("quantised-text-encoder",
                 f"w.toml, line 4, model.text_encoder, m.safetensors: {REFUSED}",
                 {"w.toml": text_encoder(),
                  "m.safetensors": safetensors(
                      {**UMT5, "encoder.block.0.layer.0.SelfAttention.q.scale_weight": [], "scaled_fp8": [2]})},
                 code=3),
            *(
                Case(f"quantised-transformer-{companion}",
                     f"w.toml, line 4, model.transformer, m.safetensors: {REFUSED}",
                     {"w.toml": transformer(),
                      "m.safetensors": safetensors({**WAN, f"blocks.0.self_attn.q.{companion}": [1]})},
                     code=3)
                for companion in ("scale_weight", "weight_scale", "weight_scale_inv", "comfy_quant")
            ),
            Case("quantised-vae",
                 f"w.toml, line 4, model.vae, m.safetensors: {REFUSED}",
                 {"w.toml": vae(), "m.safetensors": safetensors({**VAE, "conv1.weight_scale": []})},
                 code=3),
            Case("vae-of-bytes",
                 "w.toml, line 4, model.vae, m.safetensors: tensor {any} is of the type U8, which is not "
                 "read, and 193 more are like it; use the bf16 or fp16 file of the model.",
                 {"w.toml": vae(), "m.safetensors": safetensors(VAE, "U8")}, code=3),
            Case("transformer-of-integers",
                 "w.toml, line 4, model.transformer, m.safetensors: tensor {any} is of the type I64, which is "
                 "not read, and 824 more are like it; use the bf16 or fp16 file of the model.",
                 {"w.toml": transformer(), "m.safetensors": safetensors(WAN, "I64")}, code=3),
        ),
    ),
)  # fmt: skip
