"""Quantising a model while it is loaded, products in fp8, and ``wan-core quantize``."""

from __future__ import annotations

import json

from makers import bundled, folder, link, manifest, manifest_shapes, pipe, safetensors, workflow
from table import Case, Group, Trouble

WAN = manifest_shapes("wan2.1-t2v-1.3b")()
Q = "blocks.0.self_attn.q"
PAIR = {f"{Q}.lora_A.weight": [4, 192], f"{Q}.lora_B.weight": [192, 4]}
MODEL = {"m.safetensors": bundled("t2v.safetensors")}
INT4 = {"version": 1, "dtype": "int4", "group": 64, "nibbles": "low_first"}


def quantization(*lines: str) -> dict[str, str]:
    """A workflow with the table from line 4."""
    return {
        "w.toml": workflow(family="tiny-t2v", model="\n".join(["[model.quantization]", *lines]))
    }


def own(entry: object) -> dict[str, object]:
    """A workflow, and a transformer whose header has this entry of ours."""
    text = entry if isinstance(entry, str) else json.dumps(entry)
    shapes = {**WAN, f"{Q}.weight_scale": [1536, 24]}
    return {
        "w.toml": workflow(family="wan2.1-t2v-1.3b", model='transformer = "m.safetensors"'),
        "m.safetensors": safetensors(shapes, **{"wan_core.quantised": text}),
    }


def quantize(*arguments: str, out: str = "q.safetensors") -> tuple[str, ...]:
    return ("quantize", "m.safetensors", out, *arguments)


OURS = "m.safetensors: the header's entry wan_core.quantised"
AGAIN = "quantise the original again."

GROUP = Group(
    "A model is not quantised",
    (
        Trouble(
            "[model.quantization]",
            "`dtype`, `scale` and `products` are chosen from few words, and some don't go together.",
            "Take one of the words; leave out what you don't need.",
            (
                Case("quantization-dtype",
                     'w.toml, line 5, model.quantization.dtype: dtype must be "fp8_e4m3fn", "fp8_e5m2", '
                     '"int8" or "int4", not "int5"; did you mean "int8".',
                     quantization('dtype = "int5"')),
                Case("quantization-scale-of-int4",
                     'w.toml, line 6, model.quantization.scale: scale can\'t be "tensor": int4 has a scale '
                     "for each group of 64 inputs; leave it out.",
                     quantization('dtype = "int4"', 'scale = "tensor"')),
                Case("quantization-products",
                     'w.toml, line 5, model.quantization.products: products must be "exact" or "fp8", not '
                     '"int8".',
                     quantization('products = "int8"')),
                Case("quantization-products-of-int8",
                     'w.toml, line 5, model.quantization.products: products can be "fp8" only with dtype = '
                     '"fp8_e4m3fn", not int8; leave one of them out.',
                     quantization('products = "fp8"', 'dtype = "int8"')),
                Case("quantization-keep",
                     'w.toml, line 4, model.quantization: keep names "block.0", which no layer is called that '
                     "could be quantised; layers are called blocks.0.self_attn.q and so on.",
                     quantization('keep = ["block.0"]')),
                Case("quantization-keep-is-empty",
                     'w.toml, line 4, model.quantization: keep names "", which no layer is called that '
                     "could be quantised; layers are called blocks.0.self_attn.q and so on.",
                     quantization('keep = [""]')),
                Case("quantization-keep-everything",
                     "w.toml, line 4, model.quantization: keep names every layer that could be quantised; "
                     "keep fewer, or leave quantization out.",
                     quantization('keep = ["blocks.[0-3].*", "blocks.*"]')),
                Case("quantization-keep-of-many",
                     "w.toml, line 5, model.quantization.keep: keep holds 65 patterns, the most it may hold "
                     'is 64; take patterns such as "blocks.[0-3].*".',
                     quantization(f"keep = {['blocks.0.*'] * 65}")),
                Case("quantization-unknown",
                     'w.toml, line 5, model.quantization.product: this table has no option "product"; did '
                     'you mean "products".',
                     quantization('product = "fp8"')),
            ),
        ),
        Trouble(
            "A file that wan-core has quantised",
            "Its header says how, in the entry `wan_core.quantised`.",
            "Quantise the original again with `wan-core quantize`; a file of a later version needs a later "
            "wan-core.",
            (
                Case("own-no-json",
                     f"w.toml, line 4, model.transformer, {OURS} is no JSON ({{any}}); {AGAIN}",
                     own("{"), code=3),
                Case("own-no-object",
                     f"w.toml, line 4, model.transformer, {OURS} is no JSON object; {AGAIN}",
                     own([]), code=3),
                Case("own-version",
                     "w.toml, line 4, model.transformer, m.safetensors: the quantised file is of version '2', "
                     f"and read is 1; update wan-core, or {AGAIN}",
                     own({**INT4, "version": 2}), code=3),
                Case("own-group",
                     f"w.toml, line 4, model.transformer, {OURS} states an int4 that is not read: "
                     f"\"(128, 'low_first')\"; {AGAIN}",
                     own({**INT4, "group": 128}), code=3),
                Case("own-scales",
                     "w.toml, line 4, model.transformer, m.safetensors: the file holds quantised weights that "
                     f"are not read: '{Q}.weight_scale' is the scale of no quantised weight; {{any}}.",
                     own(INT4), code=3),
            ),
        ),
        Trouble(
            "wan-core quantize IN OUT",
            "It takes a transformer of the Wan family in plain numbers and writes a new file.",
            "Name the bf16 or fp16 file of the model, and a new name that ends in `.safetensors`.",
            (
                Case("quantize-without-dtype",
                     "wan-core quantize: missing option '--dtype'; see wan-core quantize --help.",
                     MODEL, quantize(), usage=True),
                Case("quantize-without-out",
                     "wan-core quantize: missing argument 'OUT'; see wan-core quantize --help.",
                     MODEL, "quantize m.safetensors --dtype int8", usage=True),
                Case("quantize-dtype",
                     '--dtype: dtype must be "fp8_e4m3fn", "fp8_e5m2", "int8" or "int4", not "bf16".',
                     MODEL, quantize("--dtype", "bf16")),
                Case("quantize-scale-of-int4",
                     '--scale: scale can\'t be "tensor": int4 has a scale for each group of 64 inputs; leave '
                     "it out.",
                     MODEL, quantize("--dtype=int4", "--scale=tensor")),
                Case("quantize-keep",
                     'm.safetensors: keep names "a\\x1b[2J", which no layer is called that could be quantised; '
                     "layers are called blocks.0.self_attn.q and so on.",
                     MODEL, quantize("--dtype=int8", "--keep", "a\x1b[2J")),
                Case("quantize-keep-is-empty",
                     'm.safetensors: keep names "", which no layer is called that could be quantised; '
                     "layers are called blocks.0.self_attn.q and so on.",
                     MODEL, quantize("--dtype=int8", "--keep=")),
                Case("quantize-nothing",
                     "m.safetensors: no matrix can become int4: all are kept; keep fewer.",
                     MODEL, quantize("--dtype=int4", "--keep=*")),
                Case("quantize-missing",
                     "m.safetensors: there is no such weight file.", {}, quantize("--dtype=int8"), code=3),
                Case("quantize-empty",
                     "the name of a file is empty; name the file itself.",
                     run=("quantize", "", "q.safetensors", "--dtype=int8"), code=3),
                Case("quantize-to-no-name",
                     "the name of a file is empty; name the file itself.",
                     MODEL, quantize("--dtype=int8", out=""), code=3),
                Case("quantize-below-a-file",
                     "m.safetensors/q.safetensors: m.safetensors is no folder; use another name.",
                     MODEL, quantize("--dtype=int8", out="m.safetensors/q.safetensors")),
                Case("quantize-vae",
                     "m.safetensors: this is a Wan VAE (2.1, z_dim 16), not a Wan transformer.",
                     {"m.safetensors": bundled("vae.safetensors")}, quantize("--dtype=int8"), code=3),
                Case("quantize-quantised",
                     "m.safetensors: the file is quantised already; name the bf16 or fp16 file of the model.",
                     {"m.safetensors": safetensors(WAN, "F8_E4M3")}, quantize("--dtype=int8"), code=3),
                Case("quantize-in-place",
                     "m.safetensors: this is the file that is read; use another name.",
                     MODEL, quantize("--dtype=int8", "--overwrite", out="m.safetensors")),
                Case("quantize-in-place-by-a-link",
                     "l.safetensors: this is the file that is read; use another name.",
                     {**MODEL, "l.safetensors": link("m.safetensors")},
                     quantize("--dtype=int8", "--overwrite", out="l.safetensors")),
                Case("quantize-over-its-lora",
                     "x.safetensors: this is the file that is read; use another name.",
                     {**MODEL, "x.safetensors": safetensors(PAIR)},
                     quantize("--dtype=int8", "--overwrite", "--lora=x.safetensors=0", out="x.safetensors")),
                Case("quantize-over-a-pipe",
                     "q.safetensors: this is a device or a pipe, not a file; use another name.",
                     {**MODEL, "q.safetensors": pipe}, quantize("--dtype=int8", "--overwrite")),
                Case("quantize-over-a-file",
                     "q.safetensors: the file exists already; use another name, or --overwrite.",
                     {**MODEL, "q.safetensors": "x"}, quantize("--dtype=int8")),
                Case("quantize-over-a-folder",
                     "q.safetensors: this is a folder; name a file.",
                     {**MODEL, "q.safetensors": folder}, quantize("--dtype=int8", "--overwrite")),
                Case("quantize-to-gguf",
                     "q.gguf: weights are written as safetensors; use a name with .safetensors.",
                     MODEL, quantize("--dtype=int4", out="q.gguf")),
                Case("quantize-lora-missing",
                     "x.safetensors: there is no such weight file.", MODEL,
                     quantize("--dtype=int8", "--lora=x.safetensors=0.5"), code=3),
                Case("quantize-lora-strength",
                     "--lora: strength must be from -100 to 100, not 1000.", MODEL,
                     quantize("--dtype=int8", "--lora=x.safetensors=1000")),
                Case("quantize-lora-strength-is-a-word",
                     '--lora: strength must be a number, not "half".',
                     {**MODEL, "x.safetensors": safetensors(PAIR)},
                     quantize("--dtype=int8", "--lora=x.safetensors=half")),
                Case("quantize-lora-without-a-name",
                     "--lora: the name of a file is empty; name the file itself.",
                     MODEL, quantize("--dtype=int8", "--lora==0.5"), code=3),
                Case("quantize-unmatched",
                     '--unmatched: unmatched must be "refuse" or "skip", not "ignore".',
                     MODEL, quantize("--dtype=int8", "--lora=x.safetensors", "--unmatched=ignore")),
                Case("quantize-lora-that-fits-in-part",
                     "x.safetensors: the model has no place for 1 of the LoRA's 3 tensors: 'a.diff' (the model "
                     "has no such module); use a LoRA that was made for this model, or go on without them with "
                     "--unmatched skip.",
                     {**MODEL, "x.safetensors": safetensors({**PAIR, "a.diff": [4]})},
                     quantize("--dtype=int8", "--lora=x.safetensors"), code=3),
                Case("quantize-lora-of-a-model",
                     "x.safetensors: nothing in the LoRA fits the model: of 'blocks.0.cross_attn.k.bias', it "
                     "is no part of a LoRA that is known; use a LoRA that was made for this model.",
                     {**MODEL, "x.safetensors": manifest("wan2.1-t2v-1.3b")},
                     quantize("--dtype=int8", "--lora=x.safetensors"), code=3),
            ),
        ),
    ),
)  # fmt: skip
