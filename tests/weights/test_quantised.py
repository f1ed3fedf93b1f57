"""Quantised weights: what they are worth, in which memory, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from header_files import write_gguf, write_safetensors
from safetensors.torch import save_file
from torch import Tensor

from wan_core.contract.errors import WeightsError
from wan_core.weights import QuantLinear, StateDict, open_weights, strip_prefixes
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised import packed as module
from wan_core.weights.quantised.layouts import GGUF_BLOCKS
from wan_core.weights.quantised.packed import FP8_TYPES, Packed, float8, untiled
from wan_core.weights.quantised.source import UnpackedSource

CODES = torch.arange(256, dtype=torch.uint8).view(16, 16)
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def note(**entries: Any) -> Tensor:
    return torch.tensor(list(json.dumps(entries).encode()), dtype=torch.uint8)


def worth(**parts: Tensor) -> Tensor:
    """What a layer ``x`` with these tensors is worth."""
    source = StateDict({f"x.{name}": part for name, part in parts.items()})
    return UnpackedSource(source).get("x.weight")


@pytest.mark.parametrize("kind", [E4M3, E5M2])
@pytest.mark.parametrize("name", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("scale_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (1,), (16,), (16, 1)])
def test_scaled_fp8(
    kind: torch.dtype, name: str, scale_dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    count = 16 if 16 in shape else 1
    scale = (torch.arange(1, count + 1) / 7).to(scale_dtype).reshape(shape)
    want = CODES.view(kind).float() * scale.float().reshape(-1, 1)
    parts = {name: scale, "input_scale": torch.ones(())}
    assert torch.equal(worth(weight=CODES.view(kind), **parts).nan_to_num(), want.nan_to_num())


@pytest.mark.parametrize("kind", [E4M3, E5M2])
def test_devices_without_8_bit_floats_take_codes_apart(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = float8(CODES, kind)
    monkeypatch.setattr(module, "HAVE_FLOAT8", ())
    assert torch.equal(float8(CODES, kind).nan_to_num(), here.nan_to_num())
    assert torch.equal(float8(CODES, kind).isnan(), here.isnan())


@pytest.mark.parametrize("kind", [E4M3, E5M2])
def test_compiled_code_meets_no_8_bit_floats(kind: torch.dtype) -> None:
    """Which compilers know only for cards that have them."""
    graphs: list[str] = []

    def seen(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph.code)
        return graph

    compiled = torch.compile(lambda codes: float8(codes, kind), fullgraph=True, backend=seen)
    assert torch.equal(compiled(CODES).nan_to_num(), float8(CODES, kind).nan_to_num())
    assert len(graphs) == 1
    assert "float8" not in graphs[0].replace("float8(", "")


def test_int8_with_a_scale_for_each_channel() -> None:
    codes = torch.tensor([[-128, 127], [3, -4]], dtype=torch.int8)
    found = worth(weight=codes, weight_scale=torch.tensor([[0.5], [2.0]]))
    assert found.tolist() == [[-64.0, 63.5], [6.0, -8.0]]
    said = worth(
        weight=codes, weight_scale=torch.tensor(2.0), comfy_quant=note(format="int8_tensorwise")
    )
    assert said.tolist() == [[-256.0, 254.0], [6.0, -8.0]]


def tiled(scales: Tensor) -> Tensor:
    """The order of tensor cores, written down value by value."""
    rows, blocks = scales.shape
    down, across = -(-rows // 128), -(-blocks // 4)
    flat = torch.full((down * across * 512,), 99, dtype=torch.uint8)
    for row in range(rows):
        for block in range(blocks):
            tile = row // 128 * across + block // 4
            inside = row % 32 * 16 + row % 128 // 32 * 4 + block % 4
            flat[tile * 512 + inside] = scales[row, block]
    return flat.view(128 * down, 4 * across)


@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (130, 5), (128, 4), (300, 9)])
def test_tiles_of_block_scales(rows: int, blocks: int) -> None:
    scales = (torch.arange(rows * blocks) % 251).to(torch.uint8).view(rows, blocks)
    assert torch.equal(untiled(tiled(scales), rows, blocks), scales)


def test_nvfp4() -> None:
    codes = torch.arange(16, dtype=torch.uint8).repeat(2, 1)  # one block of 16 values a row
    weight = codes[:, ::2] << 4 | codes[:, 1::2]  # even columns in the upper halves
    scales = torch.tensor([[1.0], [0.5]]).to(E4M3).view(torch.uint8)
    found = worth(
        weight=weight,
        weight_scale=tiled(scales),
        weight_scale_2=torch.tensor(2.0),
        comfy_quant=note(format="nvfp4"),
    )
    values = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    row = torch.tensor(values + [-value for value in values])
    assert torch.equal(found, torch.stack((2 * row, row)))


def test_mxfp8() -> None:
    weight = torch.linspace(-400, 400, 128).view(2, 64).to(E4M3)
    scales = torch.tensor([[127, 128], [120, 0]], dtype=torch.uint8)
    found = worth(weight=weight, weight_scale=tiled(scales), comfy_quant=note(format="mxfp8"))
    factors = torch.tensor([[1.0, 2.0], [2.0**-7, 2.0**-127]]).repeat_interleave(32, 1)
    assert torch.equal(found, weight.float() * factors)


@pytest.mark.parametrize("layer", ["model.x", "x"])
def test_formats_that_the_header_states(tmp_path: Path, layer: str) -> None:
    held = {"model.x.weight": CODES.view(E4M3), "model.x.weight_scale": torch.tensor(0.5)}
    text = json.dumps({"layers": {layer: {"format": "float8_e4m3fn", "convrot": True}}})
    save_file(held, tmp_path / "m.safetensors", {"_quantization_metadata": text})
    with pytest.raises(WeightsError, match=rf"layer '{layer}' is rotated \(convrot\)"):
        unpacked(strip_prefixes(open_weights(tmp_path / "m.safetensors")))


@pytest.mark.parametrize("layer", ["model.x", "x", "another.name.of.x"])
@pytest.mark.parametrize("beside", [None, note(format="int8_tensorwise")], ids=["alone", "beside"])
@pytest.mark.parametrize("says", [{"convrot": True}, {"convrot_groupsize": 256}])
def test_a_rotated_layer_is_refused_whichever_note_says_so(
    tmp_path: Path, layer: str, beside: Tensor | None, says: dict[str, object]
) -> None:
    """Without its rotation it would be read as other numbers."""
    held = {"model.x.weight": CODES.view(torch.int8), "model.x.weight_scale": ONE.clone()}
    if beside is not None:
        held["model.x.comfy_quant"] = beside
    stated = {"layers": {layer: {"format": "int8_tensorwise", **says}}}
    metadata = {"_quantization_metadata": json.dumps(stated)}
    save_file(held, tmp_path / "m.safetensors", metadata=metadata)
    with pytest.raises(WeightsError, match=rf"layer '{layer}' is rotated \(convrot\)"):
        unpacked(open_weights(tmp_path / "m.safetensors"))
    # and the other way round: the header says nothing of it
    if beside is not None:
        held["model.x.comfy_quant"] = note(format="int8_tensorwise", **says)
        metadata = {"_quantization_metadata": '{"layers": {"x": {"format": "int8_tensorwise"}}}'}
        save_file(held, tmp_path / "n.safetensors", metadata=metadata)
        with pytest.raises(WeightsError, match=r"layer 'model\.x' is rotated"):
            unpacked(open_weights(tmp_path / "n.safetensors"))


@pytest.mark.parametrize("rotated", [False, True])
def test_each_shard_states_its_own_layers(tmp_path: Path, rotated: bool) -> None:
    more = {"convrot": True} if rotated else {}
    stated = {
        "x": {"format": "float8_e4m3fn", "full_precision_matrix_mult": True, **more},
        "y": {"format": "float8_e4m3fn"},
    }
    for layer, note_ in stated.items():
        held = {f"{layer}.weight": CODES.view(E4M3), f"{layer}.weight_scale": ONE.clone()}
        text = json.dumps({"layers": {layer: note_}})
        metadata = {"_quantization_metadata": text, "format": "pt", "name": layer}
        save_file(held, tmp_path / f"{layer}.safetensors", metadata)
    names = (f"{layer}.{leaf}" for layer in stated for leaf in ("weight", "weight_scale"))
    index = tmp_path / "m.safetensors.index.json"
    shards = {name: f"{name[0]}.safetensors" for name in names}
    index.write_text(json.dumps({"weight_map": shards, "metadata": {"total_size": 7}}))
    source = open_weights(index)
    if rotated:
        with pytest.raises(WeightsError, match="layer 'x' is rotated"):
            unpacked(source)
        return
    layouts = unpacked(source).layouts
    assert (layouts["x.weight"].exact, layouts["y.weight"].exact) == (True, False)
    assert source.metadata["format"] == "pt" and source.metadata["total_size"] == "7"
    assert "name" not in source.metadata  # of which they say two things


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "[" * 100_000,
        '{"layers": 3}',
        "{}",
        '{"layers": {"x": 3}}',
        '{"layers": {"x": 1}, "layers": {}}',
    ],
)
def test_notes_of_a_shard_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    held = {"x.weight": CODES.view(E4M3), "x.weight_scale": ONE.clone()}
    save_file(held, tmp_path / "x.safetensors", {"_quantization_metadata": text})
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(held, "x.safetensors")}))
    with pytest.raises(WeightsError, match="_quantization_metadata"):
        unpacked(open_weights(index))


def test_two_notes_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    held = {"x.weight": CODES.view(E4M3), "x.weight_scale": ONE.clone()}
    held["x.comfy_quant"] = note(format="float8_e4m3fn", full_precision_matrix_mult=True)
    for word in ("float8_e4m3fn", "mxfp8"):
        stated = json.dumps({"layers": {"x": {"format": word}}})
        save_file(held, tmp_path / "m.safetensors", metadata={"_quantization_metadata": stated})
        source = open_weights(tmp_path / "m.safetensors")
        if word == "mxfp8":
            with pytest.raises(WeightsError, match="'x' has two notes, which name two formats"):
                unpacked(source)
        else:
            assert unpacked(source).layouts["x.weight"].exact


@pytest.mark.parametrize("scheme", sorted(GGUF_BLOCKS))
def test_blocks_of_zeros_and_a_row_at_a_time(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block, nbytes = GGUF_BLOCKS[scheme]
    raw = torch.randint(0, 60, (6, 2 * nbytes), generator=torch.Generator().manual_seed(1))
    weight = Packed(scheme, (6, 2 * block), raw.to(torch.uint8))
    whole = weight.dense()
    assert whole.isfinite().all()
    monkeypatch.setattr(module, "CHUNK", 4 * block)
    assert torch.equal(weight.dense(), whole)
    assert torch.equal(weight.dense(torch.bfloat16), whole.bfloat16())


def test_chunks_take_their_own_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 48)
    codes = torch.full((16, 16), 56, dtype=torch.uint8)  # 1.0
    scale = torch.arange(16.0).view(16, 1)
    dense = Packed("fp8_e4m3fn", (16, 16), codes, scale).dense()
    assert torch.equal(dense, scale.expand(16, 16))


@pytest.mark.parametrize("scheme", sorted(FP8_TYPES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_is_a_linear_layer(scheme: str, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    codes = torch.randn(8, 5, generator=draw).to(FP8_TYPES[scheme])
    scale, bias = torch.rand(8, 1, generator=draw), torch.randn(8, generator=draw)
    layer = QuantLinear(Packed(scheme, (8, 5), codes.view(torch.uint8), scale), bias)
    x = torch.randn(2, 3, 5, generator=draw).to(dtype)
    kept = x.clone()
    weight = (codes.float() * scale).to(dtype)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, weight, bias.to(dtype)))
    assert torch.equal(x, kept)
    assert torch.equal(codes.view(torch.uint8), layer.payload)
    assert (layer.weight.shape, layer.weight.is_meta) == ((8, 5), True)
    assert "5, 8, fp8_" in repr(layer)
    assert not any(one.requires_grad for one in layer.parameters())


@pytest.mark.parametrize("scheme", ["fp8_e5m2", "Q4_K"])
def test_the_layer_is_captured_whole(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 512)  # several parts
    nbytes = GGUF_BLOCKS[scheme][1] if scheme in GGUF_BLOCKS else 256
    layer = QuantLinear(Packed(scheme, (4, 256), torch.full((4, nbytes), 17, dtype=torch.uint8)))
    x = torch.linspace(-1, 1, 512).view(2, 256)
    with torch.no_grad():
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        assert torch.equal(compiled(x), layer(x))


W = CODES.view(E4M3)
ONE = torch.ones(())


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"weight": W, "comfy_quant": note(format="int4")}, "layer 'x' is in the format 'int4'"),
        ({"weight": W, "comfy_quant": note(form=1)}, "the note on layer 'x' names no format"),
        (
            {"weight": W, "comfy_quant": note(format="float8_e4m3fn", convrot=True)},
            "layer 'x' is rotated (convrot), which is not read; use a bf16, fp16, fp8 or GGUF file",
        ),
        ({"weight": W, "comfy_quant": torch.ones(3)}, "has a comfy_quant that is no short text"),
        (
            {"weight": W, "comfy_quant": torch.full((2,), 91, dtype=torch.uint8)},
            "comfy_quant of 'x' is no JSON",
        ),
        ({"weight": W, "comfy_quant": note()}, "the note on layer 'x' names no format"),
        (
            {"weight": torch.ones(2, 2), "comfy_quant": note(format="nvfp4")},
            "the quantised layer 'x' is said to be nvfp4 and holds F32",
        ),
        ({"weight": W, "scale_weight": ONE, "weight_scale": ONE}, "has two scales"),
        (
            {"weight": W, "weight_scale": ONE, "weight_scale_2": ONE},
            "the quantised layer 'x' is fp8_e4m3fn with a second scale",
        ),
        (
            {"weight": W, "modulation": CODES.view(torch.int8)},
            "tensor 'x.modulation' is of the type I8",
        ),
        ({"weight": W[:0]}, "the quantised layer 'x' holds no numbers"),
        ({"weight": W, "scale_weight": torch.ones(3)}, "has scales F32 [3], which does not fit"),
        ({"weight": W, "scale_weight": torch.ones(1, 16)}, "has scales F32 [1, 16]"),
        ({"weight": W, "scale_weight": ONE.int()}, "has scales I32 []"),
        ({"weight": torch.ones(2, 2), "scale_weight": ONE}, "'x.scale_weight' is the scale of no"),
        ({"weight": CODES.view(torch.int8)}, "tensor 'x.weight' is of the type I8"),
        (
            {"weight": CODES, "weight_scale": W, "comfy_quant": note(format="nvfp4")},
            "has block scales F8_E4M3 [16, 16]",
        ),
        (
            {
                "weight": CODES,
                "weight_scale": tiled(CODES[:, :2]),
                "comfy_quant": note(format="nvfp4"),
            },
            "lacks weight_scale_2",
        ),
        ({"weight": CODES, "comfy_quant": note(format="nvfp4")}, "without being a matrix with"),
        ({"weight": W, "weight_scale_inv": ONE}, "not read: with 'x.weight_scale_inv'"),
    ],
)
def test_what_is_not_read_is_refused(parts: dict[str, Tensor], says: str) -> None:
    with pytest.raises(WeightsError) as caught:
        unpacked(StateDict({f"x.{name}": part for name, part in parts.items()}, "m.safetensors"))
    assert says in str(caught.value)
    assert str(caught.value).startswith("m.safetensors: ")


def test_a_block_format_that_is_not_read(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"x.weight": (2, 256)}, "IQ2_XS")
    with pytest.raises(WeightsError, match=r"tensor 'x\.weight' is of the type IQ2_XS"):
        unpacked(open_weights(path))


def test_notes_are_read_without_torch(tmp_path: Path) -> None:
    held = {"x.weight": W, "x.weight_scale": ONE, "x.comfy_quant": note(format="float8_e4m3fn")}
    save_file(held, tmp_path / "m.safetensors")
    code = (
        "import sys\nfrom wan_core.weights import open_weights\n"
        "from wan_core.weights.numbers import refuse_unread_numbers\n"
        "print(refuse_unread_numbers(open_weights(sys.argv[1])).layouts, 'torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "fp8_e4m3fn" in said
    assert said.strip().endswith("False")


def test_a_note_longer_than_any_is_not_read(tmp_path: Path) -> None:
    shapes = {"x.weight": (2, 2), "x.comfy_quant": (2**20,)}
    dtypes = {"x.weight": "F8_E4M3", "x.comfy_quant": "U8"}
    path = write_safetensors(tmp_path / "m.safetensors", shapes, dtypes)
    with pytest.raises(WeightsError, match="comfy_quant that is no short text"):
        unpacked(open_weights(path))
