"""Weight files: missing, damaged, dangerous, or in the wrong slot."""

from __future__ import annotations

import json

from makers import (
    bundled,
    folder,
    gguf,
    header_only,
    index,
    link,
    manifest,
    manifest_shapes,
    picture,
    pickle_with_code,
    pickled,
    pipe,
    safetensors,
    sparse,
    video,
    workflow,
)
from table import Case, Group, Trouble

REAL = "wan2.1-t2v-1.3b"
ENTRY = '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
LORA = {
    "diffusion_model.blocks.0.self_attn.q.lora_A.weight": [16, 1536],
    "diffusion_model.blocks.0.self_attn.q.lora_B.weight": [1536, 16],
}
T5 = {
    "shared.weight": [32128, 4096],
    **{f"encoder.block.{n}.layer.0.SelfAttention.q.weight": [4096, 4096] for n in range(24)},
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": [32, 64],
}


def transformer(name: str = "m.safetensors") -> str:
    """A workflow whose transformer (line 4) is a file."""
    return workflow(family=REAL, model=f'transformer = "{name}"')


def vae(name: str = "m.safetensors") -> str:
    """A workflow with the bundled model but for its VAE (line 4)."""
    return workflow(family="tiny-t2v", model=f'vae = "{name}"')


def text_encoder(name: str = "m.safetensors") -> str:
    """A workflow with the bundled model but for its text encoder (line 4)."""
    return workflow(family="tiny-t2v", model=f'text_encoder = "{name}"')


def tokenizer(name: str = "t.json") -> str:
    """A workflow with the bundled model but for its tokenizer (line 4)."""
    return workflow(family="tiny-t2v", model=f'tokenizer = "{name}"')


GROUP = Group(
    "A weight file does not load",
    (
        Trouble(
            "The file is not there",
            "Weights are looked for where the workflow says, counted from the workflow's folder, and then by name in "
            "your [model folders](models.md).",
            "Correct the path, add your folder to the model folders, or fetch published files with "
            "`wan-core models pull FAMILY`.",
            (
                Case("weights-missing", "?", {"w.toml": vae()}, code=3),
                Case("weights-missing-published", "?",
                     {"w.toml": transformer("diffusion_pytorch_model.safetensors")}, code=3),
                Case("weights-not-named", "?", {"w.toml": workflow(family=REAL)}),
                Case("weights-missing-in-models", "?",
                     {"w.toml": vae("wan_vae.safetensors"), "models/wan_vea.safetensors": b""}, code=3,
                     environment={"WAN_CORE_MODELS": "{folder}/models"}),
                Case("weights-of-two-names", "?",
                     {"w.toml": vae("vae.safetensors"), "models/a/vae.safetensors": b"a",
                      "models/b/vae.safetensors": b"b"},
                     environment={"WAN_CORE_MODELS": "{folder}/models"}),
                Case("weights-dead-link", "?", {"w.toml": vae(), "m.safetensors": link("gone")}, code=3),
                Case("weights-link-to-itself", "?",
                     {"w.toml": vae(), "m.safetensors": link("m.safetensors")}, code=3),
                Case("weights-empty-path", "?", {"w.toml": vae("")}),
                Case("weights-number", "?", {"w.toml": workflow(family="tiny-t2v", model="vae = 5")}),
                Case("weights-nul", "?", {"w.toml": vae("a\\u0000b")}),
                Case("weights-escape", "?", {"w.toml": vae("a\\u001b[31mb")}),
                Case("weights-line-end", "?", {"w.toml": vae("a\\nb")}, code=3),
                Case("weights-long-name", "?", {"w.toml": vae("a" * 5000)}, code=3),
                Case("weights-unknown-home", "?", {"w.toml": vae("~nobody-at-all/x")}),
                Case("weights-for-random", "?", {"w.toml": workflow(model='vae = "x.safetensors"')}),
                Case("weights-slot-unknown", "?", {"w.toml": workflow(family="tiny-t2v", model='clip = "x"')}),
                Case("weights-two-experts", "?",
                     {"w.toml": workflow(family="tiny-t2v", model='transformer = { high = "a", low = "b" }')}),
                Case("weights-one-expert", "?",
                     {"w.toml": workflow(family="tiny-t2v", model='transformer = { high = "a" }')}),
            ),
        ),
        Trouble(
            "The wrong file in the slot",
            "Every file is recognised by the names and shapes inside it, whatever it is called. This one is sound, "
            "but something else than what its slot takes.",
            "The message names what the file is and what is wanted. `wan-core inspect FILE` says more, and which slots "
            "the file fits.",
            (
                Case("clip-in-text-encoder", "?",
                     {"w.toml": text_encoder(), "m.safetensors": manifest("clip-vit-h-14-visual")}, code=3),
                Case("t5-in-text-encoder", "?",
                     {"w.toml": text_encoder(), "m.safetensors": safetensors(T5)}, code=3),
                Case("transformer-in-text-encoder", "?",
                     {"w.toml": text_encoder(), "m.safetensors": manifest("wan2.1-t2v-1.3b")}, code=3),
                Case("vae-in-transformer", "?",
                     {"w.toml": transformer(), "m.safetensors": manifest("wan2.1-vae")}, code=3),
                Case("lora-in-transformer", "?",
                     {"w.toml": transformer(), "m.safetensors": safetensors(LORA)}, code=3),
                Case("text-encoder-in-transformer", "?",
                     {"w.toml": transformer(), "m.safetensors": manifest("umt5-xxl-encoder")}, code=3),
                Case("transformer-in-vae", "?",
                     {"w.toml": vae(), "m.safetensors": manifest("wan2.1-t2v-1.3b")}, code=3),
                Case("vae-2.2-with-published", "?",
                     {"w.toml": workflow(family=REAL, model='transformer = "t.safetensors"\n'
                                         'text_encoder = "e.safetensors"\nvae = "m.safetensors"'),
                      "t.safetensors": manifest("wan2.1-t2v-1.3b"),
                      "e.safetensors": manifest("umt5-xxl-encoder"),
                      "m.safetensors": manifest("wan2.2-vae")}, code=3),
                Case("vae-2.2-with-2.1", "?",
                     {"w.toml": vae(), "m.safetensors": manifest("wan2.2-vae")}, code=3),
                Case("14b-in-1.3b", "?",
                     {"w.toml": transformer(), "m.safetensors": manifest("wan2.1-t2v-14b")}, code=3),
                Case("i2v-in-t2v", "?",
                     {"w.toml": workflow(family="wan2.1-t2v-14b", model='transformer = "m.safetensors"'),
                      "m.safetensors": manifest("wan2.1-i2v-14b")}, code=3),
                Case("ti2v-in-t2v", "?",
                     {"w.toml": transformer(), "m.safetensors": manifest("wan2.2-ti2v-5b")}, code=3),
                Case("humo-in-t2v", "?",
                     {"w.toml": workflow(family="wan2.1-t2v-14b", model='transformer = "m.safetensors"'),
                      "m.safetensors": manifest("humo-17b")}, code=3),
                Case("published-encoder-with-tiny", "?",
                     {"w.toml": text_encoder(), "m.safetensors": manifest("umt5-xxl-encoder")}, code=3),
                Case("tensors-of-nothing-known", "?",
                     {"w.toml": vae(), "m.safetensors": safetensors({"a": [2], "b": [3]})}, code=3),
                Case("half-a-transformer", "?",
                     {"w.toml": transformer(), "m.safetensors": safetensors(
                         {"patch_embedding.weight": [1536, 16, 1, 2, 2],
                          "blocks.0.self_attn.q.weight": [1536, 1536]})}, code=3),
            ),
        ),
        Trouble(
            "It is no weight file at all",
            "The name says nothing: what counts are the first bytes.",
            "Name the weights. A *web page* or a *Git LFS pointer* under a weight file's name means that the download "
            "went wrong: fetch it again.",
            (
                Case("weights-are-text", "?", {"w.toml": vae(), "m.safetensors": "hello " * 40}, code=3),
                Case("weights-are-empty", "?", {"w.toml": vae(), "m.safetensors": b""}, code=3),
                Case("weights-are-a-page", "?",
                     {"w.toml": vae(), "m.safetensors": "<!DOCTYPE html><html>404 not found</html>"}, code=3),
                Case("weights-are-a-pointer", "?",
                     {"w.toml": vae(), "m.safetensors": "version https://git-lfs.github.com/spec/v1\n"
                                                        "oid sha256:0\nsize 5\n"}, code=3),
                Case("weights-are-a-video", "?", {"w.toml": vae("v.mp4"), "v.mp4": video()}, code=3),
                Case("weights-are-a-picture", "?", {"w.toml": vae("p.png"), "p.png": picture}, code=3),
                Case("weights-are-a-workflow", "?", {"w.toml": vae("w.toml")}, code=3),
                Case("weights-are-a-folder", "?", {"w.toml": vae("m"), "m": folder}, code=3),
                Case("weights-are-several", "?",
                     {"w.toml": vae("m"), "m/a.safetensors": b"a", "m/b.safetensors": b"b"}, code=3),
                Case("weights-are-a-pipe", "?", {"w.toml": vae("m"), "m": pipe}, code=3),
                Case("weights-are-a-device", "?", {"w.toml": vae("/dev/zero")}, code=3),
                Case("gguf-in-transformer", "?",
                     {"w.toml": transformer("m.gguf"), "m.gguf": gguf(manifest_shapes("wan2.1-t2v-1.3b"))}, code=3),
                Case("gguf-of-flux", "?",
                     {"w.toml": transformer("m.gguf"), "m.gguf": gguf({"double_blocks.0.img_mod.lin.weight": [8, 8]},
                                                                      "flux")}, code=3),
                Case("gguf-version-1", "?", {"w.toml": transformer("m.gguf"), "m.gguf": gguf(version=1)}, code=3),
                Case("gguf-of-many-tensors", "?",
                     {"w.toml": transformer("m.gguf"), "m.gguf": gguf(claims=2**60)}, code=3),
            ),
        ),
        Trouble(
            "A safetensors file is cut short or damaged",
            "The file begins with a list of its tensors. That list and the file's true length don't agree, or the "
            "list makes no sense: usually a download that has stopped half way, or a disk that was full.",
            "Download it again, and compare its SHA-256 with the publisher's where there is one.",
            (
                Case("truncated", "?",
                     {"w.toml": vae(), "m.safetensors": bundled("vae.safetensors", keep=1_000_000)}, code=3),
                Case("truncated-header", "?",
                     {"w.toml": vae(), "m.safetensors": bundled("vae.safetensors", keep=500)}, code=3),
                Case("truncated-length", "?",
                     {"w.toml": vae(), "m.safetensors": bundled("vae.safetensors", keep=5)}, code=3),
                Case("header-of-10-15-bytes", "?",
                     {"w.toml": vae(), "m.safetensors": (10**15).to_bytes(8, "little") + b"{}"}, code=3),
                Case("header-of-200-MB", "?",
                     {"w.toml": vae(), "m.safetensors": sparse(300_000_000,
                                                               (200_000_000).to_bytes(8, "little") + b"{")},
                     code=3),
                Case("header-is-no-json", "?", {"w.toml": vae(), "m.safetensors": header_only("{oops")}, code=3),
                Case("header-is-a-list", "?", {"w.toml": vae(), "m.safetensors": header_only("[]")}, code=3),
                Case("header-is-deep", "?",
                     {"w.toml": vae(), "m.safetensors": header_only('{"a":' * 5000 + "1" + "}" * 5000)}, code=3),
                Case("header-key-twice", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(f'{{"a": {ENTRY}, "a": {ENTRY}}}', 8)},
                     code=3),
                Case("header-of-nan", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(
                         '{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}', 8)}, code=3),
                Case("header-overlaps", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(f'{{"a": {ENTRY}, "b": {ENTRY}}}', 8)},
                     code=3),
                Case("header-negative", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(
                         '{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}', 8)}, code=3),
                Case("header-of-huge-numbers", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(
                         '{"a": {"dtype": "F32", "shape": [' + "9" * 5000 + '], "data_offsets": [0, 8]}}', 8)},
                     code=3),
                Case("header-of-many-axes", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(
                         json.dumps({"a": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}), 4)},
                     code=3),
                Case("header-unknown-type", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(
                         '{"a\\u001b[31m": {"dtype": "\\u0007", "shape": [2], "data_offsets": [0, 8]}}', 8)},
                     code=3),
                Case("bytes-too-many", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(f'{{"a": {ENTRY}}}', 9)}, code=3),
                Case("metadata-of-numbers", "?",
                     {"w.toml": vae(), "m.safetensors": header_only(
                         f'{{"__metadata__": {{"a": 1}}, "a": {ENTRY}}}', 8)}, code=3),
            ),
        ),
        Trouble(
            "A checkpoint in several files",
            "An index (`….safetensors.index.json`) lists which file holds which tensor. It may name files in its own "
            "folder only.",
            "Download the missing shard into the same folder. Don't use an index that names files elsewhere unless you "
            "trust who made it.",
            (
                Case("shard-missing", "?",
                     {"w.toml": vae("m.safetensors.index.json"),
                      "m.safetensors.index.json": index({"a": "m-1.safetensors"})}, code=3),
                Case("shard-above", "?",
                     {"w.toml": vae("m.safetensors.index.json"),
                      "m.safetensors.index.json": index({"a": "../secret.safetensors"})}, code=3),
                Case("shard-absolute", "?",
                     {"w.toml": vae("m.safetensors.index.json"),
                      "m.safetensors.index.json": index({"a": "/etc/passwd"})}, code=3),
                Case("shard-of-control-characters", "?",
                     {"w.toml": vae("m.safetensors.index.json"),
                      "m.safetensors.index.json": index({"a": "\x1b]0;x\x07.safetensors"})}, code=3),
                Case("shard-of-another-model", "?",
                     {"w.toml": vae("m.safetensors.index.json"), "m-1.safetensors": safetensors({"b": [2]}),
                      "m.safetensors.index.json": index({"a": "m-1.safetensors"})}, code=3),
                Case("tensor-in-two-shards", "?",
                     {"w.toml": vae("m.safetensors.index.json"), "1.safetensors": safetensors({"a": [2]}),
                      "2.safetensors": safetensors({"a": [2], "b": [2]}),
                      "m.safetensors.index.json": index({"a": "1.safetensors", "b": "2.safetensors"})}, code=3),
                Case("index-is-no-json", "?",
                     {"w.toml": vae("m.safetensors.index.json"), "m.safetensors.index.json": "nope"}, code=3),
                Case("index-of-a-list", "?",
                     {"w.toml": vae("m.safetensors.index.json"), "m.safetensors.index.json": "[1]"}, code=3),
                Case("index-is-empty", "?",
                     {"w.toml": vae("m.safetensors.index.json"), "m.safetensors.index.json": index({})}, code=3),
                Case("index-key-twice", "?",
                     {"w.toml": vae("m.safetensors.index.json"),
                      "m.safetensors.index.json": '{"weight_map": {"a": "1", "a": "2"}}'}, code=3),
            ),
        ),
        Trouble(
            "A .pth is refused",
            "`.pth`, `.pt` and `.ckpt` files are pickles, which can hold programs. wan-core reads tensors from them "
            "and runs nothing; a pickle with anything else in it is refused.",
            "Use a safetensors version of the model.",
            (
                Case("pickle-with-code", "?", {"w.toml": vae("m.pth"), "m.pth": pickle_with_code}, code=3),
                Case("pickle-cut-short", "?",
                     {"w.toml": vae("m.pth"), "m.pth": b"PK\x03\x04" + b"\0" * 60}, code=3),
                Case("pickle-of-numbers", "?",
                     {"w.toml": vae("m.pth"), "m.pth": pickled(lambda: {"epoch": 3})}, code=3),
                Case("pickle-of-a-list", "?",
                     {"w.toml": vae("m.pth"), "m.pth": pickled(lambda: [1, 2])}, code=3),
                Case("bare-pickle", "?",
                     {"w.toml": vae("m.pth"), "m.pth": b"\x80\x02cposix\nsystem\nq\x00."}, code=3),
            ),
        ),
        Trouble(
            "The tokenizer",
            "A text encoder needs its tokenizer: `tokenizer.json` or `spiece.model`, inside the file, beside it, or "
            "named with `tokenizer = \"…\"`.",
            "Put the folder `google/umt5-xxl` of the published repository beside the text encoder, or name it.",
            (
                Case("tokenizer-missing", "?", {"w.toml": tokenizer()}, code=3),
                Case("tokenizer-empty", "?", {"w.toml": tokenizer(), "t.json": b""}, code=3),
                Case("tokenizer-broken", "?", {"w.toml": tokenizer(), "t.json": '{"version": "1.0"'}, code=3),
                Case("tokenizer-of-something-else", "?",
                     {"w.toml": tokenizer(), "t.json": json.dumps({"version": "1.0", "added_tokens": [],
                      "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})}, code=3),
                Case("tokenizer-is-a-folder", "?", {"w.toml": tokenizer("t"), "t": folder}, code=3),
                Case("tokenizer-is-no-text", "?",
                     {"w.toml": tokenizer(), "t.json": b'{"\xff\xfe": 1}'}, code=3),
                Case("tokenizer-huge", "?",
                     {"w.toml": tokenizer(), "t.json": sparse(2_000_000_000, b"{")}, code=3),
                Case("tokenizer-is-a-device", "?", {"w.toml": tokenizer("/dev/zero")}, code=3),
                Case("tokenizer-not-beside", "?",
                     {"w.toml": text_encoder(), "m.safetensors": bundled("text_encoder.safetensors")}, code=3),
            ),
        ),
    ),
)  # fmt: skip
