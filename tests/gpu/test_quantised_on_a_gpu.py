"""On a GPU: quantised weights are worth what they are on the CPU, to the bit.

Skipped where there is no CUDA device.
"""

from __future__ import annotations

import pytest
import torch

from wan_core.weights import QuantLinear
from wan_core.weights.quantised.layouts import GGUF_BLOCKS
from wan_core.weights.quantised.own import GROUP
from wan_core.weights.quantised.packed import FP8_TYPES, Packed, pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ROWS, COLUMNS = 48, 512


def weight(scheme: str) -> Packed:
    draw = torch.Generator().manual_seed(0)

    def codes(*shape: int, below: int = 100) -> torch.Tensor:
        return torch.randint(0, below, shape, generator=draw).to(torch.uint8)

    scale = torch.rand(ROWS, 1, generator=draw)
    shape = (ROWS, COLUMNS)
    if scheme in GGUF_BLOCKS:
        block, nbytes = GGUF_BLOCKS[scheme]
        # small bytes, so that no scale is infinite
        return Packed(scheme, shape, codes(ROWS, COLUMNS // block * nbytes, below=60))
    if scheme == "int8":
        return Packed(scheme, shape, codes(*shape, below=256).view(torch.int8), scale)
    if scheme == "int4":
        factors = torch.rand(ROWS, COLUMNS // GROUP, generator=draw).bfloat16().view(torch.uint8)
        return Packed(scheme, shape, codes(ROWS, COLUMNS // 2, below=256), None, factors)
    if scheme == "nvfp4":
        payload = codes(ROWS, COLUMNS // 2, below=256)
        return Packed(scheme, shape, payload, scale[:1], codes(ROWS, COLUMNS // 16))
    if scheme == "mxfp8":
        return Packed(scheme, shape, codes(*shape), None, codes(ROWS, COLUMNS // 32) + 64)
    return Packed(scheme, shape, codes(*shape), scale)


@pytest.mark.parametrize("scheme", [*FP8_TYPES, "int8", "int4", "nvfp4", "mxfp8", *GGUF_BLOCKS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_values_are_those_of_the_cpu(scheme: str, dtype: torch.dtype) -> None:
    packed = weight(scheme)
    here, there = packed.dense(dtype), packed.to("cuda").dense(dtype)
    assert torch.equal(there.cpu(), here)


@pytest.mark.parametrize("scheme", [*FP8_TYPES, "int8", "int4", "nvfp4", "mxfp8", "Q4_K"])
def test_the_layer_computes_there(scheme: str) -> None:
    layer = QuantLinear(weight(scheme), torch.ones(ROWS)).to("cuda")
    x = torch.randn(3, COLUMNS, device="cuda", dtype=torch.bfloat16)
    want = torch.nn.functional.linear(
        x, layer.dequantised(torch.bfloat16), torch.ones(ROWS, device="cuda", dtype=x.dtype)
    )
    assert torch.equal(layer(x), want)


@pytest.mark.parametrize("scheme", [*FP8_TYPES, "int8", "int4"])
@pytest.mark.parametrize("by_channel", [True, False])
def test_codes_are_those_of_the_cpu(scheme: str, by_channel: bool) -> None:
    draw = torch.Generator().manual_seed(0)
    dense = torch.randn(96, 5120, generator=draw) * torch.rand(96, 1, generator=draw) ** 4
    here, there = (pack(one, scheme, by_channel=by_channel) for one in (dense, dense.cuda()))
    assert torch.equal(there.payload.cpu(), here.payload)
    for one, other in ((here.scale, there.scale), (here.block_scales, there.block_scales)):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.equal(other.cpu(), one)


@pytest.mark.parametrize("scheme", [*FP8_TYPES, "int8", "int4", "nvfp4", "mxfp8"])
def test_compiled_code_unpacks_the_same_values(scheme: str) -> None:
    layer = QuantLinear(weight(scheme)).to("cuda")
    unpack = torch.compile(layer.dequantised, fullgraph=True)
    assert torch.equal(unpack(torch.bfloat16), layer.dequantised(torch.bfloat16))
