"""Weight files whose numbers are not read: quantised ones, and those that are no floats."""

from __future__ import annotations

import json

from makers import manifest_shapes, safetensors, text_encoder, transformer, vae
from table import Case, Trouble

UMT5 = {
    "shared.weight": [8, 4],
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": [32, 1],
    "encoder.block.0.layer.0.SelfAttention.q.weight": [4, 4],
}
WAN = manifest_shapes("wan2.1-t2v-1.3b")()
VAE = manifest_shapes("wan2.1-vae")()
UNREAD = "the file holds quantised weights that are not read:"
OTHER = "use a bf16, fp16, fp8 or GGUF file of the model."
Q = "blocks.0.self_attn.q"
ROTATED = json.dumps({"layers": {Q: {"format": "int8_tensorwise", "convrot": True}}})

TROUBLES = (
    Trouble(
        "The file is quantised",
        "Read are fp8 with and without scales, `comfy_quant` (fp8, int8, nvfp4, mxfp8), int8 with scales, "
        "int4 of `wan-core quantize`, and the types of GGUF from Q2_K to Q8_0 and IQ4. Not read are rotated "
        "layers (`convrot`), scales for blocks of fp8 (`weight_scale_inv`), nf4, SVDQuant, and GGUF's IQ1, "
        "IQ2 and IQ3.",
        "Use another file of the model. `wan-core inspect FILE` says how a file is stored.",
        (
            Case("quantised-text-encoder",
                 "w.toml, line 4, model.text_encoder, m.safetensors: "
                 f"{UNREAD} 'blocks.0.attn.q.scale_weight' is the scale of no quantised weight; {OTHER}",
                 {"w.toml": text_encoder(),
                  "m.safetensors": safetensors(
                      {**UMT5, "encoder.block.0.layer.0.SelfAttention.q.scale_weight": [], "scaled_fp8": [2]})},
                 code=3),
            *(
                Case(f"quantised-transformer-{companion}",
                     f"w.toml, line 4, model.transformer, m.safetensors: {UNREAD} {says}; {OTHER}",
                     {"w.toml": transformer(),
                      "m.safetensors": safetensors({**WAN, f"{Q}.{companion}": [1]})},
                     code=3)
                for companion, says in (
                    ("scale_weight", f"'{Q}.scale_weight' is the scale of no quantised weight"),
                    ("weight_scale", f"'{Q}.weight_scale' is the scale of no quantised weight"),
                    ("weight_scale_inv", f"with '{Q}.weight_scale_inv'"),
                )
            ),
            Case("quantised-transformer-comfy_quant",
                 f"w.toml, line 4, model.transformer, m.safetensors: the quantised layer '{Q}' has a "
                 "comfy_quant that is no short text, which does not fit; download or convert it again.",
                 {"w.toml": transformer(), "m.safetensors": safetensors({**WAN, f"{Q}.comfy_quant": [1]})},
                 code=3),
            Case("rotated-transformer",
                 f"w.toml, line 4, model.transformer, m.safetensors: {UNREAD} layer '{Q}' is rotated "
                 f"(convrot), which is not read; {OTHER}",
                 {"w.toml": transformer(),
                  "m.safetensors": safetensors(WAN, _quantization_metadata=ROTATED)},
                 code=3),
            Case("quantised-vae",
                 f"w.toml, line 4, model.vae, m.safetensors: {UNREAD} 'conv1.weight_scale' is the scale of no "
                 f"quantised weight; {OTHER}",
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
