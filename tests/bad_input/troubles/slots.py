"""Weight files that are missing, or something else than their slot takes."""

from __future__ import annotations

import json

from makers import (
    REAL,
    Maker,
    bundled,
    folder,
    gguf,
    link,
    manifest,
    manifest_shapes,
    picture,
    pipe,
    safetensors,
    sparse,
    text_encoder,
    tokenizer,
    transformer,
    unigram,
    vae,
    video,
    workflow,
)
from table import Case, Trouble

LORA = {
    "diffusion_model.blocks.0.self_attn.q.lora_A.weight": [16, 1536],
    "diffusion_model.blocks.0.self_attn.q.lora_B.weight": [1536, 16],
}
T5 = {
    "shared.weight": [32128, 4096],
    **{f"encoder.block.{n}.layer.0.SelfAttention.q.weight": [4096, 4096] for n in range(24)},
    "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": [32, 64],
}


def previewed() -> dict[str, Maker]:
    """A workflow with published files that fit, and a tiny VAE for previews (line 7)."""
    parts = {"transformer": REAL, "text_encoder": "umt5-xxl-encoder", "vae": "wan2.1-vae"}
    named = [*(f'{slot} = "{slot}.safetensors"' for slot in parts), 'preview_vae = "m.safetensors"']
    return {
        "w.toml": workflow(family=REAL, model="\n".join(named)),
        **{f"{slot}.safetensors": manifest(name) for slot, name in parts.items()},
    }


TROUBLES = (
    Trouble(
        "The file is not there",
        "Weights are looked for where the workflow says, counted from the workflow's folder, and "
        "then by name in your [model folders](models.md).",
        "Correct the path, add your folder to the model folders, or fetch published files with "
        "`wan-core models pull FAMILY`.",
        (
            Case("weights-missing",
                 "w.toml, line 4, model.vae: {folder}/m.safetensors does not exist, and there are no "
                 "model folders to look in; correct the path.",
                 {"w.toml": vae()}, code=3),
            Case("weights-missing-published",
                 "w.toml, line 4, model.transformer: {folder}/diffusion_pytorch_model.safetensors does "
                 "not exist, and there are no model folders to look in; run wan-core models pull "
                 "wan2.1-t2v-1.3b, or correct the path.",
                 {"w.toml": transformer("diffusion_pytorch_model.safetensors")}, code=3),
            Case("weights-not-named",
                 "w.toml, line 2, model.transformer: family wan2.1-t2v-1.3b needs a transformer file; run "
                 'wan-core models pull wan2.1-t2v-1.3b, or add transformer = "FILE" (wan-core plan '
                 "--assume-files predicts without it).",
                 {"w.toml": workflow(family=REAL)}),
            Case("weights-missing-in-models",
                 "w.toml, line 4, model.vae: {folder}/wan_vae.safetensors does not exist, and nothing in "
                 '"{folder}/models" is called so; did you mean "wan_vea.safetensors".',
                 {"w.toml": vae("wan_vae.safetensors"), "models/wan_vea.safetensors": b""}, code=3,
                 environment={"WAN_CORE_MODELS": "{folder}/models"}),
            Case("weights-of-two-names",
                 'w.toml, line 4, model.vae: "vae.safetensors" could be 2 files: '
                 '"{folder}/models/a/vae.safetensors", "{folder}/models/b/vae.safetensors"; name more of '
                 "the path.",
                 {"w.toml": vae("vae.safetensors"), "models/a/vae.safetensors": b"a",
                  "models/b/vae.safetensors": b"b"},
                 environment={"WAN_CORE_MODELS": "{folder}/models"}),
            Case("weights-dead-link",
                 'w.toml, line 4, model.vae: "{folder}/m.safetensors" is a link that leads nowhere; '
                 "download the file again, or correct the link.",
                 {"w.toml": vae(), "m.safetensors": link("gone")}, code=3),
            Case("weights-link-to-itself",
                 'w.toml, line 4, model.vae: "{folder}/m.safetensors" is a link that leads nowhere; '
                 "download the file again, or correct the link.",
                 {"w.toml": vae(), "m.safetensors": link("m.safetensors")}, code=3),
            Case("weights-empty-path",
                 'w.toml, line 4, model.vae: vae must be a path in quotes or a table, not "".',
                 {"w.toml": vae("")}),
            Case("weights-number",
                 "w.toml, line 4, model.vae: vae must be a path in quotes or a table, not 5.",
                 {"w.toml": workflow(family="tiny-t2v", model="vae = 5")}),
            Case("weights-nul",
                 "w.toml, line 4, model.vae: vae has a control character (U+0000) in it.",
                 {"w.toml": vae("a\\u0000b")}),
            Case("weights-escape",
                 "w.toml, line 4, model.vae: vae has a control character (U+001B) in it.",
                 {"w.toml": vae("a\\u001b[31mb")}),
            Case("weights-line-end",
                 "w.toml, line 4, model.vae: {folder}/a\\nb does not exist, and there are no model folders "
                 "to look in; correct the path.",
                 {"w.toml": vae("a\\nb")}, code=3),
            Case("weights-long-name",
                 "w.toml, line 4, model.vae: {any} does not exist, and there are no model folders to look "
                 "in; correct the path.",
                 {"w.toml": vae("a" * 5000)}, code=3),
            Case("weights-unknown-home",
                 "w.toml, line 4, model.vae: vae names a home folder that does not exist, "
                 '"~nobody-at-all/x".',
                 {"w.toml": vae("~nobody-at-all/x")}),
            Case("weights-for-random",
                 "w.toml, line 4, model.vae: family tiny-random makes its own vae, it takes no file; "
                 "leave vae out, or name another family.",
                 {"w.toml": workflow(model='vae = "x.safetensors"')}),
            Case("weights-slot-unknown",
                 'w.toml, line 4, model.clip: [model] has no option "clip"; known are: attention, '
                 "compile, device, family, loras, precision, quantization, text_encoder, tokenizer, "
                 "transformer, vae.",
                 {"w.toml": workflow(family="tiny-t2v", model='clip = "x"')}),
            Case("weights-two-experts",
                 "w.toml, line 4, model.transformer: family tiny-t2v has one transformer, not a high and "
                 "a low one; name a single file.",
                 {"w.toml": workflow(family="tiny-t2v", model='transformer = { high = "a", low = "b" }')}),
            Case("weights-one-expert",
                 "w.toml, line 4, model.transformer: transformer must name a file for each of the two "
                 'experts; write { high = "…", low = "…" }.',
                 {"w.toml": workflow(family="tiny-t2v", model='transformer = { high = "a" }')}),
        ),
    ),
    Trouble(
        "The wrong file in the slot",
        "Every file is recognised by the names and shapes inside it, whatever it is called. This one "
        "is sound, but something else than what its slot takes.",
        "The message names what the file is and what is wanted. `wan-core inspect FILE` says more, "
        "and which slots the file fits.",
        (
            Case("clip-in-text-encoder",
                 "w.toml, line 4, model.text_encoder: m.safetensors is a CLIP vision tower (dim 1280, "
                 "layers 32); slot text_encoder of family tiny-t2v needs a UMT5 text encoder; name "
                 "another file.",
                 {"w.toml": text_encoder(), "m.safetensors": manifest("clip-vit-h-14-visual")}, code=3),
            Case("t5-in-text-encoder",
                 "w.toml, line 4, model.text_encoder: m.safetensors is a T5-XXL text encoder (not UMT5) "
                 "(xxl, dim 4096, layers 24, vocabulary 32128); slot text_encoder of family tiny-t2v "
                 "needs a UMT5 text encoder; name another file.",
                 {"w.toml": text_encoder(), "m.safetensors": safetensors(T5)}, code=3),
            Case("transformer-in-text-encoder",
                 "w.toml, line 4, model.text_encoder: m.safetensors is a Wan transformer (t2v, dim 1536, "
                 "ffn_dim 8960, num_layers 30, in_dim 16, out_dim 16, text_dim 4096); slot text_encoder "
                 "of family tiny-t2v needs a UMT5 text encoder; name another file.",
                 {"w.toml": text_encoder(), "m.safetensors": manifest("wan2.1-t2v-1.3b")}, code=3),
            Case("vae-in-transformer",
                 "w.toml, line 4, model.transformer: m.safetensors is a Wan VAE (2.1, z_dim 16); slot "
                 "transformer of family wan2.1-t2v-1.3b needs a Wan transformer; name another file.",
                 {"w.toml": transformer(), "m.safetensors": manifest("wan2.1-vae")}, code=3),
            Case("lora-in-transformer",
                 "w.toml, line 4, model.transformer: m.safetensors is a LoRA (rank 16, dim 1536, modules "
                 "1); slot transformer of family wan2.1-t2v-1.3b needs a Wan transformer; name another "
                 "file.",
                 {"w.toml": transformer(), "m.safetensors": safetensors(LORA)}, code=3),
            Case("text-encoder-in-transformer",
                 "w.toml, line 4, model.transformer: m.safetensors is a UMT5 text encoder (dim 4096, "
                 "layers 24, vocabulary 256384); slot transformer of family wan2.1-t2v-1.3b needs a Wan "
                 "transformer; name another file.",
                 {"w.toml": transformer(), "m.safetensors": manifest("umt5-xxl-encoder")}, code=3),
            Case("transformer-in-vae",
                 "w.toml, line 4, model.vae: m.safetensors is a Wan transformer (t2v, dim 1536, ffn_dim "
                 "8960, num_layers 30, in_dim 16, out_dim 16, text_dim 4096); slot vae of family tiny-t2v "
                 "needs a Wan VAE; name another file.",
                 {"w.toml": vae(), "m.safetensors": manifest("wan2.1-t2v-1.3b")}, code=3),
            Case("vae-2.2-with-published",
                 "w.toml, line 6, model.vae: m.safetensors is a Wan VAE (2.2, z_dim 48): its z_dim is 48, "
                 "that of family wan2.1-t2v-1.3b is 16; name a file of Wan 2.1 text to video, 1.3 B "
                 "parameters, or another family.",
                 {"w.toml": workflow(family=REAL, model='transformer = "t.safetensors"\n'
                                     'text_encoder = "e.safetensors"\nvae = "m.safetensors"'),
                  "t.safetensors": manifest("wan2.1-t2v-1.3b"),
                  "e.safetensors": manifest("umt5-xxl-encoder"),
                  "m.safetensors": manifest("wan2.2-vae")}, code=3),
            Case("preview-vae-2.2-with-2.1",
                 "w.toml, line 7, model.preview_vae: m.safetensors is a tiny preview VAE (TAEHV) (2.2, z_dim "
                 "48): its z_dim is 48, that of family wan2.1-t2v-1.3b is 16; name a file of Wan 2.1 text "
                 "to video, 1.3 B parameters, or another family.",
                 {**previewed(), "m.safetensors": manifest("taew2_2")}, code=3),
            Case("vae-in-preview-vae",
                 "w.toml, line 7, model.preview_vae: m.safetensors is a Wan VAE (2.1, z_dim 16); slot "
                 "preview_vae of family wan2.1-t2v-1.3b needs a tiny preview VAE (TAEHV); name another file.",
                 {**previewed(), "m.safetensors": manifest("wan2.1-vae")}, code=3),
            Case("preview-vae-in-vae",
                 "w.toml, line 4, model.vae: m.safetensors is a tiny preview VAE (TAEHV) (2.1, z_dim 16); "
                 "slot vae of family tiny-t2v needs a Wan VAE; name another file.",
                 {"w.toml": vae(), "m.safetensors": manifest("taew2_1")}, code=3),
            Case("preview-vae-half",
                 "w.toml, line 7, model.preview_vae, m.safetensors: its tensors do not make a whole "
                 "tiny preview VAE (TAEHV); name taew2_1, taew2_2 or a conversion of one of them.",
                 {**previewed(), "m.safetensors": safetensors(
                     {"decoder.1.weight": [256, 16, 3, 3], "decoder.3.conv.0.weight": [256, 512, 3, 3],
                      "decoder.5.conv.0.weight": [256, 512, 3, 3]})}, code=3),
            Case("preview-vae-missing",
                 "w.toml, line 7, model.preview_vae: {folder}/m.safetensors does not exist, and there are no "
                 "model folders to look in; correct the path.",
                 previewed(), code=3),
            Case("preview-vae-of-tiny",
                 "w.toml, line 4, model.preview_vae: family tiny-t2v takes no preview_vae; leave it out (its "
                 "files are transformer, text_encoder, vae, tokenizer).",
                 {"w.toml": workflow(family="tiny-t2v", model='preview_vae = "x"')}),
            Case("vae-2.2-with-2.1",
                 "w.toml, line 4, model.vae, m.safetensors: this is the VAE of Wan 2.2 5B, and the model "
                 "takes that of Wan 2.1; name Wan2.1_VAE or a conversion of it.",
                 {"w.toml": vae(), "m.safetensors": manifest("wan2.2-vae")}, code=3),
            Case("14b-in-1.3b",
                 "w.toml, line 4, model.transformer: m.safetensors is a Wan transformer (t2v, dim 5120, "
                 "ffn_dim 13824, num_layers 40, in_dim 16, out_dim 16, text_dim 4096): its dim is 5120, "
                 "that of family wan2.1-t2v-1.3b is 1536; name a file of Wan 2.1 text to video, 1.3 B "
                 "parameters, or another family.",
                 {"w.toml": transformer(), "m.safetensors": manifest("wan2.1-t2v-14b")}, code=3),
            Case("i2v-in-t2v",
                 "w.toml, line 4, model.transformer: m.safetensors is a Wan transformer (i2v, dim 5120, "
                 "ffn_dim 13824, num_layers 40, in_dim 36, out_dim 16, text_dim 4096): its in_dim is 36, "
                 "that of family wan2.1-t2v-14b is 16; name a file of Wan 2.1 text to video, 14 B "
                 "parameters, or another family.",
                 {"w.toml": workflow(family="wan2.1-t2v-14b", model='transformer = "m.safetensors"'),
                  "m.safetensors": manifest("wan2.1-i2v-14b")}, code=3),
            Case("ti2v-in-t2v",
                 "w.toml, line 4, model.transformer: m.safetensors is a Wan transformer (ti2v, dim 3072, "
                 "ffn_dim 14336, num_layers 30, in_dim 48, out_dim 48, text_dim 4096): its dim is 3072, "
                 "that of family wan2.1-t2v-1.3b is 1536; name a file of Wan 2.1 text to video, 1.3 B "
                 "parameters, or another family.",
                 {"w.toml": transformer(), "m.safetensors": manifest("wan2.2-ti2v-5b")}, code=3),
            Case("humo-in-t2v",
                 "w.toml, line 4, model.transformer: m.safetensors is a HuMo transformer (dim 5120, "
                 "ffn_dim 13824, num_layers 40, in_dim 36, out_dim 16, text_dim 4096, audio_dim 1536); "
                 "slot transformer of family wan2.1-t2v-14b needs a Wan transformer; name another file.",
                 {"w.toml": workflow(family="wan2.1-t2v-14b", model='transformer = "m.safetensors"'),
                  "m.safetensors": manifest("humo-17b")}, code=3),
            Case("published-encoder-with-tiny",
                 "w.toml, line 4, model.text_encoder: m.safetensors makes text rows of width 4096, "
                 "t2v.safetensors takes 128: they do not belong together; name files of one model.",
                 {"w.toml": text_encoder(), "m.safetensors": manifest("umt5-xxl-encoder")}, code=3),
            Case("tensors-of-nothing-known",
                 "w.toml, line 4, model.vae: m.safetensors is of no known kind; slot vae of family "
                 "tiny-t2v needs a Wan VAE; name another file.",
                 {"w.toml": vae(), "m.safetensors": safetensors({"a": [2], "b": [3]})}, code=3),
            Case("half-a-transformer",
                 "w.toml, line 4, model.transformer: m.safetensors is a Wan transformer (dim 1536, "
                 "ffn_dim 0, num_layers 1, in_dim 16, out_dim 0, text_dim 0): its num_layers is 1, that "
                 "of family wan2.1-t2v-1.3b is 30; name a file of Wan 2.1 text to video, 1.3 B "
                 "parameters, or another family.",
                 {"w.toml": transformer(), "m.safetensors": safetensors(
                     {"patch_embedding.weight": [1536, 16, 1, 2, 2],
                      "blocks.0.self_attn.q.weight": [1536, 1536]})}, code=3),
        ),
    ),
    Trouble(
        "It is no weight file at all",
        "The name says nothing: what counts are the first bytes.",
        "Name the weights. A *web page* or a *Git LFS pointer* under a weight file's name means that "
        "the download went wrong: fetch it again.",
        (
            Case("weights-are-text",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: this is a text file, not a weight "
                 "file; name the weight file itself.",
                 {"w.toml": vae(), "m.safetensors": "hello " * 40}, code=3),
            Case("weights-are-empty",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: the file is empty; download it again.",
                 {"w.toml": vae(), "m.safetensors": b""}, code=3),
            Case("weights-are-a-page",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: this is a web page, not a weight "
                 "file; download it again.",
                 {"w.toml": vae(), "m.safetensors": "<!DOCTYPE html><html>404 not found</html>"}, code=3),
            Case("weights-are-a-pointer",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: this is a Git LFS pointer, not the "
                 'weights; run "git lfs pull".',
                 {"w.toml": vae(), "m.safetensors": "version https://git-lfs.github.com/spec/v1\n"
                                                    "oid sha256:0\nsize 5\n"}, code=3),
            Case("weights-are-a-video",
                 "w.toml, line 4, model.vae, {folder}/v.mp4: this is a video, not a weight file; name the "
                 "weight file itself.",
                 {"w.toml": vae("v.mp4"), "v.mp4": video()}, code=3),
            Case("weights-are-a-picture",
                 "w.toml, line 4, model.vae, {folder}/p.png: this is a picture, not a weight file; name "
                 "the weight file itself.",
                 {"w.toml": vae("p.png"), "p.png": picture}, code=3),
            Case("weights-are-a-workflow",
                 "w.toml, line 4, model.vae, {folder}/w.toml: this is a text file, not a weight file; "
                 "name the weight file itself.",
                 {"w.toml": vae("w.toml")}, code=3),
            Case("weights-are-a-folder",
                 "w.toml, line 4, model.vae, {folder}/m: the folder has no weights; name the file itself.",
                 {"w.toml": vae("m"), "m": folder}, code=3),
            Case("weights-are-several",
                 "w.toml, line 4, model.vae, {folder}/m: the folder holds several checkpoints: "
                 "a.safetensors, b.safetensors; name the file itself.",
                 {"w.toml": vae("m"), "m/a.safetensors": b"a", "m/b.safetensors": b"b"}, code=3),
            Case("weights-are-a-pipe",
                 "w.toml, line 4, model.vae, {folder}/m: this is a device or a pipe, not a file; name the "
                 "weight file itself.",
                 {"w.toml": vae("m"), "m": pipe}, code=3),
            Case("weights-are-a-device",
                 "w.toml, line 4, model.vae, /dev/zero: this is a device or a pipe, not a file; name the "
                 "weight file itself.",
                 {"w.toml": vae("/dev/zero")}, code=3),
            Case("gguf-of-an-unread-type",
                 "w.toml, line 4, model.transformer, m.gguf: the file holds quantised weights that are not "
                 "read: tensor 'blocks.0.self_attn.q.weight' is of the type IQ2_XS; use a bf16, fp16, fp8 or "
                 "GGUF file of the model.",
                 {"w.toml": transformer("m.gguf"),
                  "m.gguf": gguf(manifest_shapes("wan2.1-t2v-1.3b"),
                                 types={"blocks.0.self_attn.q.weight": 17})}, code=3),
            Case("gguf-of-flux",
                 "w.toml, line 4, model.transformer: m.gguf is of no known kind; slot transformer of "
                 "family wan2.1-t2v-1.3b needs a Wan transformer; name another file.",
                 {"w.toml": transformer("m.gguf"),
                  "m.gguf": gguf({"double_blocks.0.img_mod.lin.weight": [8, 8]}, "flux")}, code=3),
            Case("gguf-version-1",
                 "w.toml, line 4, model.transformer, {folder}/m.gguf: this GGUF file is of version 1; "
                 "versions 2 and 3, little-endian, are read; convert it again with a current tool.",
                 {"w.toml": transformer("m.gguf"), "m.gguf": gguf(version=1)}, code=3),
            Case("gguf-of-many-tensors",
                 "w.toml, line 4, model.transformer, {folder}/m.gguf: damaged GGUF file: it claims to "
                 "have 1152921504606846976 tensors; download it again.",
                 {"w.toml": transformer("m.gguf"), "m.gguf": gguf(claims=2**60)}, code=3),
        ),
    ),
    Trouble(
        "The tokenizer",
        "A text encoder needs its tokenizer: `tokenizer.json` or `spiece.model`, inside the file, "
        'beside it, or named with `tokenizer = "…"`.',
        "Put the folder `google/umt5-xxl` of the published repository beside the text encoder, or name it.",
        (
            Case("tokenizer-missing",
                 "w.toml, line 4, model.tokenizer: {folder}/t.json does not exist, and there are no model "
                 "folders to look in; correct the path.",
                 {"w.toml": tokenizer()}, code=3),
            Case("tokenizer-empty",
                 "w.toml, line 4, model.tokenizer, {folder}/t.json: this is no tokenizer of UMT5 (no "
                 "SentencePiece model).",
                 {"w.toml": tokenizer(), "t.json": b""}, code=3),
            Case("tokenizer-broken",
                 "w.toml, line 4, model.tokenizer, {folder}/t.json: this is no tokenizer of UMT5 (EOF "
                 "while parsing an object at line 1 column 17).",
                 {"w.toml": tokenizer(), "t.json": '{"version": "1.0"'}, code=3),
            Case("tokenizer-of-something-else",
                 "w.toml, line 4, model.tokenizer, {folder}/t.json: this is no tokenizer of UMT5 (it has "
                 "no </s> or no <pad>).",
                 {"w.toml": tokenizer(), "t.json": json.dumps({"version": "1.0", "added_tokens": [],
                  "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})}, code=3),
            Case("tokenizer-of-a-larger-encoder",
                 "w.toml, line 4, model.tokenizer: the tokenizer has 5000 ids, the text encoder knows "
                 "896: they do not belong together; name the tokenizer of this text encoder.",
                 {"w.toml": tokenizer(), "t.json": unigram(5000)}, code=3),
            Case("tokenizer-is-a-folder",
                 "w.toml, line 4, model.tokenizer, {folder}/t: there is no tokenizer.",
                 {"w.toml": tokenizer("t"), "t": folder}, code=3),
            Case("tokenizer-is-no-text",
                 "w.toml, line 4, model.tokenizer, {folder}/t.json: this is no tokenizer of UMT5 (it is "
                 "no text).",
                 {"w.toml": tokenizer(), "t.json": b'{"\xff\xfe": 1}'}, code=3),
            Case("tokenizer-huge",
                 "w.toml, line 4, model.tokenizer, {folder}/t.json: this is no tokenizer of UMT5 (it is "
                 "larger than 64 MiB).",
                 {"w.toml": tokenizer(), "t.json": sparse(2_000_000_000, b"{")}, code=3),
            Case("tokenizer-is-a-device",
                 "w.toml, line 4, model.tokenizer, /dev/zero: there is no tokenizer.",
                 {"w.toml": tokenizer("/dev/zero")}, code=3),
            Case("tokenizer-not-beside",
                 "w.toml, line 4, model.text_encoder, m.safetensors: no tokenizer was found in the text "
                 "encoder's file or beside it; put the folder \"google/umt5-xxl\" beside it or name one "
                 'with tokenizer = "…".',
                 {"w.toml": text_encoder(), "m.safetensors": bundled("text_encoder.safetensors")}, code=3),
        ),
    ),
)  # fmt: skip
