"""On a GPU that multiplies 8-bit floats: the kernel and the products agree with plain torch on the CPU.

Skipped where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wan_core.contract import Quantization
from wan_core.contract.requests import LoadRequest
from wan_core.kernels import quantise_rows, quantise_rows_reference, rows
from wan_core.models.families.tiny import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.planning import bundled
from wan_core.planning.quantising import why_products_are_exact
from wan_core.weights import QuantLinear
from wan_core.weights.quantised.packed import pack
from wan_core.weights.quantised.products import can_multiply, fp8_linear, fp8_linear_reference

GPU = torch.device("cuda")
pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or not can_multiply(GPU), reason="needs a GPU with 8-bit products"
)


@pytest.fixture(autouse=True)
def _exact_float32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.cpu().double() - want.double()).norm() / want.double().norm())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("count", "columns"), [(1, 16), (33, 5120), (7, 13824), (5, 1000), (3, 32768), (3, 40000)]
)
def test_the_kernel_gives_the_bits_of_plain_torch(
    count: int, columns: int, dtype: torch.dtype
) -> None:
    x = (random(count, columns) * torch.logspace(-6, 3, count).view(-1, 1)).to(dtype)
    x[0, ::2] = 0
    wide = functional.pad(x, (8, 24)).cuda()
    for given in (x.cuda(), wide[:, 8 : 8 + columns]):  # side by side, and with gaps between rows
        kept = given.clone()
        codes, scales = quantise_rows(given)
        want, wanted_scales = quantise_rows_reference(x)
        assert torch.equal(given, kept)
        assert torch.equal(scales.cpu(), wanted_scales)
        assert torch.equal(codes.cpu().view(torch.uint8), want.view(torch.uint8))
    assert not rows._broken


def test_rows_of_zeros_and_of_no_numbers() -> None:
    x = torch.zeros(3, 64)
    x[1, 5] = torch.inf
    x[2, 5] = torch.nan
    codes, _ = quantise_rows(x.cuda().bfloat16())
    values = codes.float().cpu()
    assert (values[0] == 0).all()
    assert values[1, 5].isnan()
    assert values[2, 5].isnan()


@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    ("tokens", "inputs", "outputs"),
    [((1,), 16, 16), ((512,), 512, 1536), ((2, 77), 1536, 8960), ((3, 1, 5), 8960, 1536)],
)
def test_products_agree_with_the_reference(
    tokens: tuple[int, ...], inputs: int, outputs: int, by_channel: bool, with_bias: bool
) -> None:
    packed = pack(random(outputs, inputs), "fp8_e4m3fn", by_channel=by_channel)
    bias = random(outputs, seed=2).bfloat16() if with_bias else None
    x = random(*tokens, inputs, seed=1).bfloat16()
    there = x.cuda()
    got = fp8_linear(there, packed.to("cuda"), bias if bias is None else bias.cuda())
    assert torch.equal(there.cpu(), x)
    assert (got.shape, got.dtype) == ((*tokens, outputs), torch.bfloat16)
    # sums of the fast products are kept in less than float32
    assert relative(got, fp8_linear_reference(x, packed, bias)) < 5e-3


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_the_layer(mode: str) -> None:
    layer = QuantLinear(pack(random(256, 512), "fp8_e4m3fn", by_channel=True), random(256)).cuda()
    x = random(40, 512, seed=1).bfloat16().cuda()
    exact = layer(x)
    layer.in_fp8 = True
    run = torch.compile(layer, fullgraph=True) if mode == "compiled" else layer
    with torch.no_grad():
        got = run(x)
    want = fp8_linear_reference(x.cpu(), layer.packed.to("cpu"), layer.bias.cpu().bfloat16())
    # a compiler's quotients may be off by a last digit, which moves some codes
    assert relative(got, want) < 1e-2
    assert 5e-3 < relative(got, exact.cpu()) < 6e-2
    # whatever is not bfloat16 is multiplied exactly
    single = x.float()
    assert torch.equal(
        layer(single), functional.linear(single, layer.dequantised(), layer.bias.float())
    )


def test_a_transformer_and_what_a_plan_says() -> None:
    asked = Quantization(products="fp8")
    assert why_products_are_exact(asked, "cuda:0", "bfloat16") is None
    component = TINY_T2V.components["transformer"]
    request = LoadRequest(
        "transformer", component, bundled("tiny/t2v.safetensors"), GPU, torch.bfloat16
    )
    exact = load_transformer(attrs.evolve(request, quantization=Quantization())).transformer
    fast = load_transformer(attrs.evolve(request, quantization=asked)).transformer
    layers = [m for m in fast.modules() if isinstance(m, QuantLinear)]
    assert layers
    assert all(layer.in_fp8 for layer in layers)
    latents = random(1, 16, 3, 16, 16).cuda()
    text = random(1, 20, 128, seed=1).cuda().bfloat16()
    call = (latents, torch.tensor([500.0], device=GPU), text)
    with torch.no_grad():
        want, got = exact(*call).cpu(), fast(*call)
    assert 1e-4 < relative(got, want) < 0.1
