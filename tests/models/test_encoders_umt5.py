"""The UMT5 encoder: reference numbers, all dialects, full-size names, precision, quiet."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from header_files import write_gguf
from safetensors.torch import save_file
from torch import Tensor

from wan_core.contract.errors import WeightsError
from wan_core.memory.units import BlockStack
from wan_core.models.encoders import (
    TextEncoder,
    Tokenizer,
    UMT5Config,
    load_text_encoder,
    load_umt5,
)
from wan_core.models.encoders.dialects import UMT5_DIALECTS, UMT5_HF, UMT5_LLAMA, UMT5_OFFICIAL
from wan_core.models.encoders.files import verify_text_encoder
from wan_core.models.encoders.umt5 import build_umt5
from wan_core.testing.golden.case import Case
from wan_core.testing.golden.kinds.encoders import HANDLERS
from wan_core.weights import QuantLinear, StateDict, in_official_names, open_weights
from wan_core.weights.gguf import GgufFile
from wan_core.weights.numbers import unpacked

GOLDEN = Path(__file__).parents[1] / "golden"
CASE = GOLDEN / "encoders" / "umt5_tiny.json"
EMBEDDING = "token_embedding.weight"


def weights() -> dict[str, Tensor]:
    return Case(CASE).group("weights.")


def in_hf_names(embedding: str = "shared.weight") -> dict[str, Tensor]:
    named = {UMT5_HF.from_official(name): tensor for name, tensor in weights().items()}
    named[embedding] = named.pop("shared.weight")
    return {name: tensor for name, tensor in named.items() if name}


def in_llama_names() -> dict[str, Tensor]:
    return {str(UMT5_LLAMA.from_official(name)): tensor for name, tensor in weights().items()}


def manifest(name: str) -> dict[str, list[int]]:
    file = GOLDEN / "manifests" / f"{name}.json.gz"
    table: dict[str, list[int]] = json.loads(gzip.decompress(file.read_bytes()))
    return table


def letters(text: str) -> list[int]:
    return [4 + ord(letter) % 90 for letter in text]


TOKENIZER = Tokenizer(letters, end_id=1, pad_id=0, size=100)


@pytest.mark.parametrize("name", ["umt5_tiny", "text_clean"])
def test_reference_case(name: str) -> None:
    case = Case(CASE.with_name(f"{name}.json"))
    HANDLERS[case.kind](case)
    assert [check for check in case.checks if not check.ok] == []
    assert case.uncompared() == []
    assert len(case.checks) > 10


def test_xxl_has_the_published_names_and_shapes() -> None:
    config = UMT5Config(256384, 4096, 4096, 10240, heads=64, layers=24)
    model = build_umt5(config)
    built = {name: list(p.shape) for name, p in model.state_dict().items()}
    assert built == manifest("umt5-xxl-encoder.hf") | {
        "encoder.embed_tokens.weight": [256384, 4096]
    }
    assert sum(p.numel() for p in model.parameters()) == 5_680_910_336
    assert model.encoder.embed_tokens.weight is model.shared.weight
    assert all(p.is_meta for p in model.parameters())


@pytest.mark.parametrize("name", ["umt5-xxl-encoder", "umt5-xxl-encoder.hf"])
def test_xxl_sizes_are_deduced(name: str) -> None:
    held = {n: torch.empty(shape, device="meta") for n, shape in manifest(name).items()}
    official = in_official_names(StateDict(held), UMT5_DIALECTS)
    assert sorted(official.names()) == sorted(manifest("umt5-xxl-encoder"))
    assert UMT5Config.of(official) == UMT5Config(256384, 4096, 4096, 10240, 64, 24)


def test_the_dialect_agrees_with_the_published_map() -> None:
    for official, names in manifest("umt5-xxl-encoder.official-to-hf").items():
        assert UMT5_HF.from_official(official) == names[0]
        assert [UMT5_HF.to_official(str(name)) for name in names] == [official] * len(names)
        assert UMT5_OFFICIAL.to_official(official) == official


@pytest.mark.parametrize(
    "held",
    [
        weights,
        in_hf_names,
        in_llama_names,
        lambda: in_hf_names("encoder.embed_tokens.weight"),
        lambda: in_hf_names() | {"encoder.embed_tokens.weight": weights()[EMBEDDING]},
        lambda: {f"model.{name}": tensor for name, tensor in weights().items()},
        lambda: weights() | {"spiece_model": torch.zeros(9, dtype=torch.uint8)},
    ],
    ids=["official", "hf", "llama.cpp", "hf encoder only", "hf both", "prefixed", "with tokenizer"],
)
def test_every_kind_of_file_gives_the_same_rows(held: Callable[[], dict[str, Tensor]]) -> None:
    ids = [[5, 9, 77, 1], [1]]
    wanted = load_umt5(StateDict(weights())).encode(ids)
    encoder = load_umt5(StateDict(held()))
    for rows, want in zip(encoder.encode(ids), wanted, strict=True):
        assert torch.equal(rows, want)
    assert encoder.model.shared.weight is encoder.model.encoder.embed_tokens.weight


def test_rows_of_a_prompt_do_not_depend_on_the_others() -> None:
    encoder = load_umt5(StateDict(weights()), dtype=torch.bfloat16)
    together = encoder.encode([[5, 9, 1], [7] * 60 + [1], [5, 9, 1]])
    assert [tuple(rows.shape) for rows in together] == [(3, 32), (61, 32), (3, 32)]
    assert torch.equal(together[0], encoder.encode([[5, 9, 1]])[0])
    assert torch.equal(together[0], together[2])


@pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float16, 0.01), (torch.float32, 0.0)]
)
def test_half_precision_stays_close(dtype: torch.dtype, bound: float) -> None:
    ids = [[*range(4, 80), 1]]
    want = load_umt5(StateDict(weights())).encode(ids)[0]
    encoder = load_umt5(StateDict(weights()), dtype=dtype)
    rows = encoder.encode(ids)[0]
    assert rows.dtype is encoder.dtype is dtype
    error = (rows.float() - want).abs().max() / want.abs().max()
    assert error <= bound
    kept = {name for name, p in encoder.model.named_parameters() if p.dtype is torch.float32}
    if dtype is torch.float16:
        assert all(name.endswith("wo.weight") for name in kept)
        assert len(kept) == encoder.config.layers


def test_plain_fp8_files_compute_in_bfloat16() -> None:
    stored = {
        name: tensor.to(torch.float8_e4m3fn) if "norm" not in name else tensor.bfloat16()
        for name, tensor in weights().items()
    }
    encoder = load_umt5(StateDict(stored))
    assert {p.dtype for p in encoder.model.parameters()} == {torch.bfloat16}
    want = load_umt5(StateDict(weights())).encode([[5, 9, 1]])[0]
    assert (encoder.encode([[5, 9, 1]])[0] - want).abs().max() < 0.5 * want.abs().max()


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
def test_scaled_fp8_stays_as_it_is_stored(dtype: torch.dtype | None) -> None:
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in weights().items():
        stored[name] = tensor
        if name.startswith("blocks.") and tensor.ndim == 2 and "embedding" not in name:
            scale = tensor.abs().max() / 448
            stored[name] = (tensor / scale).to(torch.float8_e4m3fn)
            stored[name.replace(".weight", ".scale_weight")] = scale
    encoder = load_umt5(StateDict(stored), dtype=dtype)
    layers = [one for one in encoder.model.modules() if isinstance(one, QuantLinear)]
    # in half precision the last matrix of a layer is float32
    assert len(layers) == encoder.config.layers * (6 if dtype is torch.float16 else 7)
    ids = [[*range(4, 80), 1]]
    rows = encoder.encode(ids)[0]
    assert rows.dtype is (dtype or torch.bfloat16)
    plain = unpacked(StateDict(stored))
    dense = StateDict({name: plain.get(name) for name in plain.names()})
    assert torch.equal(load_umt5(dense, dtype=dtype or torch.bfloat16).encode(ids)[0], rows)


def test_padding_is_not_seen_by_the_prompt() -> None:
    encoder = load_umt5(StateDict(weights()))
    ids, mask = torch.tensor([[5, 9, 1, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    padded = encoder.encode_padded(ids, mask)
    assert padded.shape == (1, 5, 32)
    other = encoder.encode_padded(torch.tensor([[5, 9, 1, 8, 8]]), mask)
    assert torch.equal(padded[:, :3], other[:, :3])
    assert torch.allclose(padded[0, :3], encoder.encode([[5, 9, 1]])[0], atol=1e-5)


def test_blocks_are_run_one_after_the_other_for_all_prompts() -> None:
    encoder = load_umt5(StateDict(weights()))
    calls: list[int] = []
    for index, unit in enumerate(encoder.units()):
        unit.module.register_forward_hook(lambda *_, index=index: calls.append(index))
    encoder.encode([[5, 1], [6, 1]])
    assert calls == [0, 0, 1, 1, 2, 2]


def test_prompts_are_cleaned_tokenized_and_cut() -> None:
    umt5 = load_umt5(StateDict(weights()))
    encoder = TextEncoder(umt5, TOKENIZER, text_len=6)
    one, two, long = encoder.encode(["a  “b”\n", "", "abcdefghijkl"])
    assert torch.equal(one, umt5.encode([[*letters('a "b"'), 1]])[0])
    assert torch.equal(two, umt5.encode([[1]])[0])
    assert torch.equal(long, umt5.encode([[*letters("abcde"), 1]])[0])
    assert encoder.text_dim == 32


def test_it_is_a_block_stack() -> None:
    umt5 = load_umt5(StateDict(weights()))
    encoder: BlockStack = TextEncoder(umt5, TOKENIZER)
    units = encoder.units()
    assert [unit.name for unit in units] == [f"encoder.block.{i}" for i in range(3)]
    assert [umt5.model.get_submodule(unit.name) for unit in units] == [u.module for u in units]
    assert set(encoder.rest()) == {"shared.weight", "encoder.final_layer_norm.weight"}


def test_a_tokenizer_of_another_model_is_refused() -> None:
    umt5 = load_umt5(StateDict(weights()))
    with pytest.raises(WeightsError, match="has 102 ids, the text encoder knows 101"):
        TextEncoder(umt5, Tokenizer(letters, end_id=1, pad_id=0, size=102))


def test_from_a_file_with_its_tokenizer_inside(tmp_path: Path) -> None:
    tokenizer = {"model": {"type": "WordLevel", "vocab": {"<pad>": 0, "</s>": 1, "a": 5, "?": 3}}}
    tokenizer["model"]["unk_token"] = "?"
    embedded = torch.tensor(list(json.dumps(tokenizer).encode()), dtype=torch.uint8)
    path = tmp_path / "umt5_tiny.safetensors"
    save_file(in_hf_names() | {"spiece_model": embedded}, path)
    encoder = load_text_encoder(path)
    rows = encoder.encode(["a"])[0]
    assert torch.equal(rows, load_umt5(StateDict(weights())).encode([[5, 1]])[0])


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("blocks.1.norm1.weight", r"1 missing \('encoder.block.1.layer.0.layer_norm.weight'\)"),
        ("blocks.0.attn.q.weight", "not those of a UMT5 encoder"),
        (EMBEDDING, "this is of no known kind, not a UMT5 text encoder"),
    ],
)
def test_incomplete_files(lost: str, says: str) -> None:
    held = {name: tensor for name, tensor in weights().items() if name != lost}
    with pytest.raises(WeightsError, match=says):
        load_umt5(StateDict(held))


def test_a_t5_of_another_model_is_named() -> None:
    held = {
        name: tensor
        for name, tensor in in_hf_names().items()
        if "relative_attention_bias" not in name or ".block.0." in name
    }
    with pytest.raises(WeightsError, match=r"this is a T5 text encoder \(not UMT5\)"):
        load_umt5(StateDict(held))


QUIET = """
import socket, sys
def refuse(*_): raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refuse
import wan_core.models.encoders
assert not {"torch", "transformers"} & set(sys.modules)
from wan_core.models.encoders import UMT5Config, load_umt5
assert "transformers" not in sys.modules
from wan_core.testing.golden.case import Case
from wan_core.weights import StateDict
from pathlib import Path
rows = load_umt5(StateDict(Case(Path(sys.argv[1])).group("weights."))).encode([[5, 1]])
assert rows[0].shape == (2, 32)
"""


def test_building_asks_no_network_and_says_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "default::UserWarning", "-c", QUIET, str(CASE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HF_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_gguf_file_as_llama_cpp_writes_it(tmp_path: Path) -> None:
    """Matrices in blocks stay so, the table of words is unpacked: the same rows as of the dense numbers."""
    held = in_llama_names()
    shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
    blocks = {n for n, s in shapes.items() if len(s) == 2 and s[1] % 32 == 0 and "rel_b" not in n}
    types = {name: "Q8_0" if name in blocks else "F32" for name in shapes}
    path = write_gguf(tmp_path / "t.gguf", shapes, types, {"general.architecture": "t5encoder"})
    fill_gguf(path, held)
    source = open_weights(path)
    verify_text_encoder(source, {})
    encoder = load_umt5(source, dtype=torch.float32)
    layers = [one for one in encoder.model.modules() if isinstance(one, QuantLinear)]
    assert len(layers) == len(blocks) - 1
    ids = [[*range(4, 80), 1]]
    plain = unpacked(source)
    dense = StateDict({name: plain.get(name, dtype=torch.float32) for name in plain.names()})
    rows = encoder.encode(ids)[0]
    assert torch.equal(rows, load_umt5(dense, dtype=torch.float32).encode(ids)[0])
    want = load_umt5(StateDict(weights())).encode(ids)[0]
    assert (rows - want).norm() < 0.05 * want.norm()


def fill_gguf(path: Path, held: dict[str, Tensor]) -> None:
    """Put numbers into a file of zeros; those of Q8_0 are rounded to codes."""
    source = open_weights(path)
    assert isinstance(source, GgufFile)
    with path.open("r+b") as file:
        for name, tensor in held.items():
            data = tensor.float().contiguous().flatten()
            if source.dtype(name) == "Q8_0":
                groups = data.view(-1, 32)
                scale = (groups.abs().amax(1, keepdim=True) / 127).half()
                codes = (groups / scale.float().clamp(min=1e-9)).round().clamp(-127, 127)
                data = torch.cat(
                    (scale.view(torch.uint8), codes.to(torch.int8).view(torch.uint8)), 1
                ).flatten()
            file.seek(source.offsets[name])
            file.write(data.view(torch.uint8).numpy().tobytes())
