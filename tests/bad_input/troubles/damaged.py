"""Weight files that are damaged or dangerous."""

from __future__ import annotations

import json

from makers import (
    bundled,
    header_only,
    index,
    manifest_shapes,
    pickle_with_code,
    pickled,
    safetensors,
    sparse,
    text_encoder,
    transformer,
    vae,
)
from table import Case, Trouble

WAN = manifest_shapes("wan2.1-t2v-1.3b")()
ENTRY = '{"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'

TROUBLES = (
    Trouble(
        "A safetensors file is cut short or damaged",
        "The file begins with a list of its tensors. That list and the file's true length don't "
        "agree, or the list makes no sense: usually a download that has stopped half way, or a disk "
        "that was full.",
        "Download it again, and compare its SHA-256 with the publisher's where there is one.",
        (
            Case("truncated",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: the file is cut short: its tensors "
                 "need 4843094 bytes, it has 983856; download it again.",
                 {"w.toml": vae(), "m.safetensors": bundled("vae.safetensors", keep=1_000_000)}, code=3),
            Case("truncated-header",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: no safetensors file, or cut short: "
                 "its header claims 16136 bytes, the file has 500; download it again.",
                 {"w.toml": vae(), "m.safetensors": bundled("vae.safetensors", keep=500)}, code=3),
            Case("truncated-length",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: no safetensors file, or cut short: "
                 "its header claims 16136 bytes, the file has 5; download it again.",
                 {"w.toml": vae(), "m.safetensors": bundled("vae.safetensors", keep=5)}, code=3),
            Case("header-of-10-15-bytes",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: no safetensors file, or cut short: "
                 "its header claims 1000000000000000 bytes, the file has 10; download it again.",
                 {"w.toml": vae(), "m.safetensors": (10**15).to_bytes(8, "little") + b"{}"}, code=3),
            Case("header-of-200-MB",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: no safetensors file, or cut short: "
                 "its header claims 200000000 bytes, the file has 300000000; download it again.",
                 {"w.toml": vae(), "m.safetensors": sparse(300_000_000,
                                                           (200_000_000).to_bytes(8, "little") + b"{")},
                 code=3),
            Case("header-is-no-json",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its header "
                 "is no valid JSON (expecting property name enclosed in double quotes, line 1, column 2); "
                 "download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only("{oops")}, code=3),
            Case("header-is-a-list",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its header "
                 "is no table of tensors; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only("[]")}, code=3),
            Case("header-is-deep",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its header "
                 "is no valid JSON (nested too deeply); download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only('{"a":' * 5000 + "1" + "}" * 5000)}, code=3),
            Case("header-key-twice",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its header "
                 "is no valid JSON (a key stands twice); download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(f'{{"a": {ENTRY}, "a": {ENTRY}}}', 8)},
                 code=3),
            Case("header-of-nan",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its header "
                 "is no valid JSON ('NaN' is no whole number); download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(
                     '{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 8]}}', 8)}, code=3),
            Case("header-overlaps",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: the data "
                 "of tensor 'b' overlap others or leave a gap; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(f'{{"a": {ENTRY}, "b": {ENTRY}}}', 8)},
                 code=3),
            Case("header-negative",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: the header "
                 "entry of tensor 'a' has impossible numbers; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(
                     '{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [8, 0]}}', 8)}, code=3),
            Case("header-of-huge-numbers",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its header "
                 "is no valid JSON (a number has too many digits); download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(
                     '{"a": {"dtype": "F32", "shape": [' + "9" * 5000 + '], "data_offsets": [0, 8]}}', 8)},
                 code=3),
            Case("header-of-many-axes",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: the header "
                 "entry of tensor 'a' has impossible numbers; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(
                     json.dumps({"a": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}), 4)},
                 code=3),
            Case("header-unknown-type",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: tensor "
                 "'a\\x1b[31m' has the unknown type '\\x07'; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(
                     '{"a\\u001b[31m": {"dtype": "\\u0007", "shape": [2], "data_offsets": [0, 8]}}', 8)},
                 code=3),
            Case("tensor-with-a-long-name",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: the name of a "
                 "tensor is longer than 1000 characters; download it again.",
                 {"w.toml": vae(), "m.safetensors": safetensors({"model." * 2_000_000: [2]})}, code=3),
            Case("bytes-too-many",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: 1 bytes at "
                 "its end belong to no tensor; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(f'{{"a": {ENTRY}}}', 9)}, code=3),
            Case("metadata-of-numbers",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors: damaged safetensors file: its "
                 "metadata are not all strings; download it again.",
                 {"w.toml": vae(), "m.safetensors": header_only(
                     f'{{"__metadata__": {{"a": 1}}, "a": {ENTRY}}}', 8)}, code=3),
        ),
    ),
    Trouble(
        "A checkpoint in several files",
        "An index (`….safetensors.index.json`) lists which file holds which tensor. It may name "
        "files in its own folder only.",
        "Download the missing shard into the same folder. Don't use an index that names files "
        "elsewhere unless you trust who made it.",
        (
            Case("shard-missing",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: the shard "
                 '"m-1.safetensors" is missing; download it into this folder.',
                 {"w.toml": vae("m.safetensors.index.json"),
                  "m.safetensors.index.json": index({"a": "m-1.safetensors"})}, code=3),
            Case("shard-above",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: the index names the shard "
                 "'../secret.safetensors', which is no plain file name; don't use this checkpoint unless "
                 "you trust who made it.",
                 {"w.toml": vae("m.safetensors.index.json"),
                  "m.safetensors.index.json": index({"a": "../secret.safetensors"})}, code=3),
            Case("shard-absolute",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: the index names the shard "
                 "'/etc/passwd', which is no plain file name; don't use this checkpoint unless you trust "
                 "who made it.",
                 {"w.toml": vae("m.safetensors.index.json"),
                  "m.safetensors.index.json": index({"a": "/etc/passwd"})}, code=3),
            Case("shard-of-control-characters",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: the index names the shard "
                 "'\\x1b]0;x\\x07.safetensors', which is no plain file name; don't use this checkpoint "
                 "unless you trust who made it.",
                 {"w.toml": vae("m.safetensors.index.json"),
                  "m.safetensors.index.json": index({"a": "\x1b]0;x\x07.safetensors"})}, code=3),
            Case("shard-of-another-model",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: the index says that "
                 "tensor 'a' is in m-1.safetensors, but it isn't; index and shards are not of the same "
                 "checkpoint.",
                 {"w.toml": vae("m.safetensors.index.json"), "m-1.safetensors": safetensors({"b": [2]}),
                  "m.safetensors.index.json": index({"a": "m-1.safetensors"})}, code=3),
            Case("tensor-in-two-shards",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: tensor 'a' is in two "
                 "shards, 1.safetensors and 2.safetensors.",
                 {"w.toml": vae("m.safetensors.index.json"), "1.safetensors": safetensors({"a": [2]}),
                  "2.safetensors": safetensors({"a": [2], "b": [2]}),
                  "m.safetensors.index.json": index({"a": "1.safetensors", "b": "2.safetensors"})}, code=3),
            Case("shards-without-index",
                 "w.toml, line 4, model.transformer, {folder}/m: the folder holds 2 shards without their "
                 "index; download the file whose name ends with .safetensors.index.json into it.",
                 {"w.toml": transformer("m"),
                  "m/model-00001-of-00002.safetensors": safetensors({"a": [2]}),
                  "m/model-00002-of-00002.safetensors": safetensors({"b": [2]})}, code=3),
            Case("pickled-shards",
                 "w.toml, line 4, model.text_encoder, {folder}/m: the folder holds 2 pickled shards, which are "
                 "not read; use a safetensors version of it.",
                 {"w.toml": text_encoder("m"), "m/pytorch_model.bin.index.json": index({}),
                  "m/pytorch_model-00001-of-00002.bin": b"\x80\x02.",
                  "m/pytorch_model-00002-of-00002.bin": b"\x80\x02."}, code=3),
            Case("one-shard-of-two",
                 "w.toml, line 4, model.transformer: model-00001-of-00002.safetensors is of no known kind; "
                 "slot transformer of family wan2.1-t2v-1.3b needs a Wan transformer; this is one shard of "
                 "several: name their index, or the folder.",
                 {"w.toml": transformer("model-00001-of-00002.safetensors"),
                  "model-00001-of-00002.safetensors": safetensors({"blocks.9.norm3.bias": [1536]})}, code=3),
            Case("first-shard-of-two",
                 "w.toml, line 4, model.transformer, m-00001-of-00002.safetensors: the transformer is "
                 "incomplete: blocks.29.norm3.weight and 1 more are missing; this is one shard of several: "
                 "name their index, or the folder.",
                 {"w.toml": transformer("m-00001-of-00002.safetensors"),
                  "m-00001-of-00002.safetensors": safetensors(
                      {n: s for n, s in WAN.items() if not n.startswith("blocks.29.norm3")})},
                 code=3),
            Case("index-is-no-json",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: this is no index of "
                 "safetensors shards (expecting value, line 1, column 1); download it again.",
                 {"w.toml": vae("m.safetensors.index.json"), "m.safetensors.index.json": "nope"}, code=3),
            Case("index-of-a-list",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: this is no index of "
                 "safetensors shards (it has no table weight_map); download it again.",
                 {"w.toml": vae("m.safetensors.index.json"), "m.safetensors.index.json": "[1]"}, code=3),
            Case("index-is-empty",
                 "w.toml, line 4, model.vae: m.safetensors.index.json is of no known kind; slot vae of "
                 "family tiny-t2v needs a Wan VAE; name another file.",
                 {"w.toml": vae("m.safetensors.index.json"), "m.safetensors.index.json": index({})}, code=3),
            Case("index-key-twice",
                 "w.toml, line 4, model.vae, {folder}/m.safetensors.index.json: this is no index of "
                 "safetensors shards (a key stands twice); download it again.",
                 {"w.toml": vae("m.safetensors.index.json"),
                  "m.safetensors.index.json": '{"weight_map": {"a": "1", "a": "2"}}'}, code=3),
        ),
    ),
    Trouble(
        "A .pth is refused",
        "`.pth`, `.pt` and `.ckpt` files are pickles, which can hold programs. wan-core reads "
        "tensors from them and runs nothing; a pickle with anything else in it is refused.",
        "Use a safetensors version of the model.",
        (
            Case("pickle-with-code",
                 "w.toml, line 4, model.vae, {folder}/m.pth: the file holds Python objects other than "
                 "tensors (it names 'posix.system'), could run code, and is refused; use a safetensors "
                 "version of it.",
                 {"w.toml": vae("m.pth"), "m.pth": pickle_with_code}, code=3),
            Case("pickle-cut-short",
                 "w.toml, line 4, model.vae, {folder}/m.pth: the archive is cut short: its directory, "
                 "which is at the end, is missing; download it again.",
                 {"w.toml": vae("m.pth"), "m.pth": b"PK\x03\x04" + b"\0" * 60}, code=3),
            Case("pickle-of-numbers",
                 "w.toml, line 4, model.vae, {folder}/m.pth: the file holds no named tensors.",
                 {"w.toml": vae("m.pth"), "m.pth": pickled(lambda: {"epoch": 3})}, code=3),
            Case("pickle-of-a-list",
                 "w.toml, line 4, model.vae, {folder}/m.pth: the file holds no named tensors.",
                 {"w.toml": vae("m.pth"), "m.pth": pickled(lambda: [1, 2])}, code=3),
            Case("bare-pickle",
                 "w.toml, line 4, model.vae, {folder}/m.pth: the file holds Python objects other than "
                 "tensors (it names 'posix.system'), could run code, and is refused; use a safetensors "
                 "version of it.",
                 {"w.toml": vae("m.pth"), "m.pth": b"\x80\x02cposix\nsystem\nq\x00."}, code=3),
        ),
    ),
)  # fmt: skip
