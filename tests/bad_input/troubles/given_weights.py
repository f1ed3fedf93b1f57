"""Weights of families that take pictures."""

from __future__ import annotations

from makers import bundled
from media_makers import A14B, I2V, T2V, WAN21, WAN22_5B, first_tensors, given, picture, published
from table import Case, Trouble

TROUBLES = (
    Trouble(
        "Weights of families that take pictures",
        "Wan 2.1 image-to-video needs CLIP's vision tower as `image_encoder`; Wan 2.2 families have "
        "none. Families differ in what their transformers take beside the latents, and in their VAE.",
        "`wan-core models pull NAME` fetches the files of a family; `wan-core inspect FILE` says what a "
        "file is.",
        (
            Case("clip-missing",
                 "w.toml, line 2, model.image_encoder: family wan2.1-i2v-14b-480p needs an image_encoder "
                 'file; run wan-core models pull wan2.1-i2v-14b-480p, or add image_encoder = "FILE" '
                 "(wan-core plan --assume-files predicts without it).",
                 published("wan2.1-i2v-14b-480p", {k: v for k,
                  v in WAN21.items() if k != "image_encoder"})),
            Case("clip-is-umt5",
                 "w.toml, line 7, model.image_encoder: image_encoder.safetensors is a UMT5 text encoder "
                 "(dim 4096, layers 24, vocabulary 256384); slot image_encoder of family "
                 "wan2.1-i2v-14b-480p needs a CLIP vision tower; name another file.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"image_encoder": "umt5-xxl-encoder"}), code=3),
            Case("clip-is-a-vae",
                 "w.toml, line 7, model.image_encoder: image_encoder.safetensors is a Wan VAE (2.1, "
                 "z_dim 16); slot image_encoder of family wan2.1-i2v-14b-480p needs a CLIP vision tower; "
                 "name another file.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"image_encoder": "wan2.1-vae"}), code=3),
            Case("umt5-is-clip",
                 "w.toml, line 6, model.text_encoder: text_encoder.safetensors is a CLIP vision tower "
                 "(dim 1280, layers 32); slot text_encoder of family wan2.1-i2v-14b-480p needs a UMT5 "
                 "text encoder; name another file.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"text_encoder": "clip-vit-h-14-visual"}),
                 code=3),
            Case("clip-cut-short",
                 "w.toml, line 7, model.image_encoder, image_encoder.safetensors: the CLIP vision tower "
                 "is incomplete: 'visual.transformer.2.attn.to_qkv.weight' and 279 more are missing; "
                 "download or convert it again.",
                 published("wan2.1-i2v-14b-480p",
                  WAN21) | {"image_encoder.safetensors": first_tensors("clip-vit-h-14-visual", 100)},
                 code=3),
            Case("clip-of-another-size",
                 "w.toml, line 7, model.image_encoder: image_encoder.safetensors is a CLIP vision tower "
                 "(dim 48, layers 2): its dim is 48, that of family wan2.1-i2v-14b-480p is 1280; name a "
                 "file of Wan 2.1 image to video, 14 B parameters, 480P, or another family.",
                 published("wan2.1-i2v-14b-480p",
                  WAN21) | {"image_encoder.safetensors": bundled("image_encoder.safetensors")}, code=3),
            Case("clip-for-5b",
                 "w.toml, line 7, model.image_encoder: family wan2.2-ti2v-5b takes no image_encoder; "
                 "leave it out (its files are transformer, text_encoder, vae, preview_vae, tokenizer).",
                 published("wan2.2-ti2v-5b", WAN22_5B | {"image_encoder": "clip-vit-h-14-visual"})),
            Case("clip-for-a14b",
                 "w.toml, line 7, model.image_encoder: family wan2.2-i2v-a14b takes no image_encoder; "
                 "leave it out (its files are transformer, text_encoder, vae, preview_vae, tokenizer).",
                 published("wan2.2-i2v-a14b", WAN21 | {"transformer": "wan2.2-i2v-a14b"})),
            Case("new-vae-for-i2v",
                 "w.toml, line 5, model.vae: vae.safetensors is a Wan VAE (2.2, z_dim 48): its z_dim is "
                 "48, that of family wan2.1-i2v-14b-480p is 16; name a file of Wan 2.1 image to video, "
                 "14 B parameters, 480P, or another family.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"vae": "wan2.2-vae"}), code=3),
            Case("old-vae-for-5b",
                 "w.toml, line 5, model.vae: vae.safetensors is a Wan VAE (2.1, z_dim 16): its z_dim is "
                 "16, that of family wan2.2-ti2v-5b is 48; name a file of Wan 2.2 text and image to "
                 "video, 5 B parameters, or another family.",
                 published("wan2.2-ti2v-5b", WAN22_5B | {"vae": "wan2.1-vae"}), code=3),
            Case("preview-vae-for-i2v",
                 "w.toml, line 5, model.vae: vae.safetensors is a tiny preview VAE (TAEHV) (2.1, z_dim "
                 "16); slot vae of family wan2.1-i2v-14b-480p needs a Wan VAE; name another file.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"vae": "taew2_1"}), code=3),
            Case("t2v-in-i2v",
                 "w.toml, line 4, model.transformer: transformer.safetensors is a Wan transformer (t2v, "
                 "dim 5120, ffn_dim 13824, num_layers 40, in_dim 16, out_dim 16, text_dim 4096): its "
                 "in_dim is 16, that of family wan2.1-i2v-14b-480p is 36; name a file of Wan 2.1 image "
                 "to video, 14 B parameters, 480P, or another family.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"transformer": "wan2.1-t2v-14b"}), code=3),
            Case("new-i2v-in-old",
                 "w.toml, line 4, model.transformer, transformer.safetensors: this transformer takes no "
                 "image tokens, and that of the family does: those of Wan 2.1 image-to-video do, of Wan "
                 "2.2 don't; name a file of the family, or another family.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"transformer": "wan2.2-i2v-a14b"}), code=3),
            Case("old-i2v-in-new",
                 "w.toml, line 4, model.transformer.high, transformer.safetensors: this transformer "
                 "takes image tokens, and that of the family does not: those of Wan 2.1 image-to-video "
                 "do, of Wan 2.2 don't; name a file of the family, or another family.",
                 published("wan2.2-i2v-a14b", A14B | {"transformer": "wan2.1-i2v-14b"}), code=3),
            Case("t2v-experts-in-i2v",
                 "w.toml, line 4, model.transformer.high: transformer.safetensors is a Wan transformer "
                 "(t2v, dim 5120, ffn_dim 13824, num_layers 40, in_dim 16, out_dim 16, text_dim 4096): "
                 "its in_dim is 16, that of family wan2.2-i2v-a14b is 36; name a file of Wan 2.2 image "
                 "to video, two experts of 14 B parameters, or another family.",
                 published("wan2.2-i2v-a14b", A14B | {"transformer": "wan2.2-t2v-a14b"}), code=3),
            Case("i2v-experts-in-t2v",
                 "w.toml, line 4, model.transformer.high: transformer.safetensors is a Wan transformer "
                 "(i2v, dim 5120, ffn_dim 13824, num_layers 40, in_dim 36, out_dim 16, text_dim 4096): "
                 "its in_dim is 36, that of family wan2.2-t2v-a14b is 16; name a file of Wan 2.2 text to "
                 "video, two experts of 14 B parameters, or another family.",
                 published("wan2.2-t2v-a14b", A14B, ""), code=3),
            Case("flf2v-in-i2v",
                 "w.toml, line 4, model.transformer: transformer.safetensors is a Wan transformer "
                 "(flf2v, dim 5120, ffn_dim 13824, num_layers 40, in_dim 36, out_dim 16, text_dim 4096): "
                 "its variant is flf2v, that of family wan2.1-i2v-14b-480p is i2v; name a file of Wan "
                 "2.1 image to video, 14 B parameters, 480P, or another family.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"transformer": "wan2.1-flf2v-14b"}), code=3),
            Case("i2v-in-flf2v",
                 "w.toml, line 4, model.transformer: transformer.safetensors is a Wan transformer (i2v, "
                 "dim 5120, ffn_dim 13824, num_layers 40, in_dim 36, out_dim 16, text_dim 4096): its "
                 "variant is i2v, that of family wan2.1-flf2v-14b is flf2v; name a file of Wan 2.1 first "
                 "and last frame to video, 14 B parameters, or another family.",
                 published("wan2.1-flf2v-14b", WAN21), code=3),
            Case("vace-in-i2v",
                 "w.toml, line 4, model.transformer: transformer.safetensors is a Wan transformer (vace, "
                 "dim 5120, ffn_dim 13824, num_layers 40, in_dim 16, out_dim 16, text_dim 4096): its "
                 "in_dim is 16, that of family wan2.1-i2v-14b-480p is 36; name a file of Wan 2.1 image "
                 "to video, 14 B parameters, 480P, or another family.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"transformer": "wan2.1-vace-14b"}), code=3),
            Case("humo-in-i2v",
                 "w.toml, line 4, model.transformer: transformer.safetensors is a HuMo transformer (dim "
                 "5120, ffn_dim 13824, num_layers 40, in_dim 36, out_dim 16, text_dim 4096, audio_dim "
                 "1536); slot transformer of family wan2.1-i2v-14b-480p needs a Wan transformer; name "
                 "another file.",
                 published("wan2.1-i2v-14b-480p", WAN21 | {"transformer": "humo-17b"}), code=3),
            Case("tiny-i2v-in-tiny-t2v",
                 "w.toml, line 4, model.transformer: x.safetensors is a Wan transformer (i2v, dim 192, "
                 "ffn_dim 544, num_layers 6, in_dim 36, out_dim 16, text_dim 128): its in_dim is 36, "
                 "that of family tiny-t2v is 16; name a file of bundled toy model: one coloured shape "
                 "that moves, for demos and tests, or another family.",
                 given(T2V, x__safetensors=bundled("i2v.safetensors"),
                  model='transformer = "x.safetensors"'), code=3),
            Case("tiny-t2v-in-tiny-i2v",
                 "w.toml, line 4, model.transformer: x.safetensors is a Wan transformer (t2v, dim 192, "
                 "ffn_dim 544, num_layers 7, in_dim 16, out_dim 16, text_dim 128): its in_dim is 16, "
                 "that of family tiny-i2v is 36; name a file of bundled toy model: a picture of the toy "
                 "world that begins to move, for demos and tests, or another family.",
                 given(I2V, 'image = "p.png"', p__png=picture(),
                  x__safetensors=bundled("t2v.safetensors"), model='transformer = "x.safetensors"'),
                 code=3),
        ),
    ),
)  # fmt: skip
