"""Int4 in groups of 64: the codes by hand, the layout in a file, and headers that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from wan_core.contract import Component, Quantization, Stack
from wan_core.contract.errors import WeightsError
from wan_core.weights import QuantLinear, StateDict, identify
from wan_core.weights.described import lora_targets
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised import packed as module
from wan_core.weights.quantised.own import ENTRY, header_entry, weight_bytes
from wan_core.weights.quantised.packed import pack

GOOD = json.loads(header_entry(Quantization("int4"), "a test"))


def file(weight: Tensor, scale: Tensor | None, entry: Any = GOOD) -> StateDict:
    held = {"x.weight": weight} | ({} if scale is None else {"x.weight_scale": scale})
    text = entry if isinstance(entry, str) else json.dumps(entry)
    return StateDict(held, "m.safetensors", metadata={ENTRY: text} if entry else {})


def test_the_layout_in_a_file_by_hand() -> None:
    """Even columns in lower halves; a code c is worth c - 8, times the scale of its row and group."""
    weight = torch.zeros(2, 64, dtype=torch.uint8) + 0x88
    weight[0, 0] = 0x9F  # columns 0 and 1: 7 and 1
    weight[1, 40] = 0x1A  # columns 80 and 81, of the second group: 2 and -7
    scale = torch.tensor([[0.5, 1.0], [1.0, 0.25]]).bfloat16()
    want = torch.zeros(2, 128)
    want[0, 0], want[0, 1], want[1, 80], want[1, 81] = 3.5, 0.5, 0.5, -1.75
    source = unpacked(file(weight, scale))
    assert torch.equal(source.get("x.weight"), want)
    assert source.stays_packed("x.weight")
    assert source.layouts["x.weight"].nbytes == 128 + 8


def test_values_are_those_of_the_nearest_codes() -> None:
    weight = torch.randn(5, 192, generator=torch.Generator().manual_seed(0))
    weight[2, 64:128] = 0
    kept = weight.clone()
    packed = pack(weight, "int4", by_channel=True)
    assert packed.block_scales is not None
    assert torch.equal(weight, kept)
    assert packed.payload.shape == (5, 96)
    groups = weight.view(5, 3, 64)
    scale = (groups.abs().amax(2, keepdim=True) / 7).bfloat16().float()
    scale[2, 1] = 1
    want = (groups / scale).round().clamp(-7, 7) * scale
    dense = packed.dense()
    assert torch.equal(dense, want.view(5, 192))
    assert (dense - weight).norm() < 0.12 * weight.norm()
    assert (dense[2, 64:128] == 0).all()
    sizes = weight_bytes(Quantization("int4"), weight.shape)
    assert sizes == (packed.payload.nbytes, packed.block_scales.nbytes) == (480, 30)


def test_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack(torch.randn(6, 128), "int4", by_channel=True)
    whole = packed.dense(torch.bfloat16)
    monkeypatch.setattr(module, "CHUNK", 256)
    assert torch.equal(packed.dense(torch.bfloat16), whole)


def test_the_layer_is_captured_whole_and_keeps_its_numbers_when_it_is_cast() -> None:
    layer = QuantLinear(pack(torch.randn(4, 64), "int4", by_channel=True), torch.ones(4))
    x = torch.randn(3, 64)
    with torch.no_grad():
        want = layer(x)
        compiled = torch.compile(layer, fullgraph=True, backend="eager")
        assert torch.equal(compiled(x), want)
        before = layer.dequantised()
        assert torch.equal(layer.bfloat16().dequantised(), before)


def test_it_is_called_by_its_name() -> None:
    packed = pack(torch.randn(4, 64), "int4", by_channel=True)
    assert packed.block_scales is not None
    source = file(packed.payload, packed.block_scales.view(torch.bfloat16))
    precision = identify(source).precision
    assert precision.scheme == "int4"
    assert precision.title == "int4, groups of 64 with a scale each (wan-core)"
    assert precision.values == {"INT4": 256}


def test_loras_of_a_stack_are_matched_with_the_shapes_of_its_weights() -> None:
    component = Component("stack", load="m:load", stack=Stack())
    shapes = lora_targets(component, file(W, S), ()).shapes
    assert shapes == {"x.weight": (2, 128)}


W, S = torch.zeros(2, 64, dtype=torch.uint8), torch.ones(2, 2).bfloat16()


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (file(W, S, ""), "'x.weight_scale' is the scale of no quantised weight"),
        (file(W, S, "{"), f"the header's entry {ENTRY} is no JSON"),
        (file(W, S, "[" * 100_000), f"the header's entry {ENTRY} is no JSON"),
        (file(W, S, " " * 2**20 + "{}"), f"the header's entry {ENTRY} is no JSON"),
        (file(W, S, "[]"), f"the header's entry {ENTRY} is no JSON object"),
        (file(W, S, '{"version": 1, "version": 1}'), "is no JSON"),
        (file(W, S, {**GOOD, "version": 2}), "is of version '2', and read is 1; update wan-core"),
        (file(W, S, {**GOOD, "version": "\x1b[2J"}), "of version '\\x1b[2J'"),
        (file(W, S, {**GOOD, "group": 32}), "states an int4 that is not read: \"(32, 'low_first')"),
        (file(W, S, {**GOOD, "nibbles": "high_first"}), "states an int4 that is not read"),
        (file(W, S, {**GOOD, "dtype": "int8"}), "is the scale of no quantised weight"),
        (file(W, None), "'x' is int4 without being a matrix with scales"),
        (file(W.view(2, 8, 8), S), "'x' is int4 without being a matrix with scales"),
        (file(W[:, :31], S[:, :1]), "has scales BF16 [2, 1] for 2x62"),
        (file(W, S[:, :1]), "has scales BF16 [2, 1] for 2x128"),
        (file(W, S.float()), "has scales F32 [2, 2] for 2x128"),
    ],
)
def test_files_that_are_refused(source: StateDict, says: str) -> None:
    with pytest.raises(WeightsError) as caught:
        unpacked(source)
    assert says in str(caught.value)
    assert "\x1b" not in str(caught.value)
    identify(source)  # which still says what it can
