"""Products in 8 bits: their formula, how far they are from exact, and who falls back to unpacking."""

from __future__ import annotations

import logging
import runpy
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wan_core.kernels import (
    failures,
    norm_rotate,
    quantise_rows,
    quantise_rows_reference,
    rows,
    telling,
)
from wan_core.weights import QuantLinear
from wan_core.weights.quantised import linear, products
from wan_core.weights.quantised.linear import multiply_in_fp8
from wan_core.weights.quantised.packed import Packed, pack
from wan_core.weights.quantised.products import can_multiply, fp8_linear_reference, suits_fp8

CPU = torch.device("cpu")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_rows_have_scales_of_their_own() -> None:
    x = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0], [3e-20, 0.0, 1e-30], [1e30, 1.0, -1e29]])
    kept = x.clone()
    codes, scales = quantise_rows_reference(x)
    assert torch.equal(x, kept)
    assert codes.dtype == torch.float8_e4m3fn
    assert codes.float()[0].tolist() == [224, -448, 112]
    assert codes.float()[1:, 0].tolist() == [0, 0, 448]
    assert scales.shape == (4, 1)
    assert scales[0].item() == pytest.approx(2 / 448)
    assert codes.float().isfinite().all()


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_what_is_no_number_stays_none(bad: float) -> None:
    codes, _ = quantise_rows_reference(torch.tensor([[bad, 1.0], [1.0, 2.0]]))
    assert codes.float()[0, 0].isnan()
    assert codes.float()[1].tolist() == [224, 448]


@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_product_is_that_of_the_rounded_inputs(by_channel: bool, with_bias: bool) -> None:
    weight, x = random(32, 48), random(2, 5, 48, seed=1).bfloat16()
    bias = random(32, seed=2).bfloat16() if with_bias else None
    packed, kept = pack(weight, "fp8_e4m3fn", by_channel=by_channel), x.clone()
    got = fp8_linear_reference(x, packed, bias)
    assert torch.equal(x, kept)
    assert (got.shape, got.dtype) == ((2, 5, 32), torch.bfloat16)
    codes, scales = quantise_rows_reference(x.view(10, 48))
    rounded = (codes.double() * scales.double()).view(2, 5, 48)
    want = nn.functional.linear(
        rounded, packed.dense().double(), bias if bias is None else bias.double()
    )
    assert (got.double() - want).norm() < 3e-3 * want.norm()  # the digits of bfloat16
    exact = nn.functional.linear(
        x.double(), packed.dense().double(), bias if bias is None else bias.double()
    )
    assert 5e-3 < (got.double() - exact).norm() / exact.norm() < 4e-2


def test_weights_without_scales() -> None:
    codes = random(16, 16).to(torch.float8_e4m3fn)
    packed = Packed("fp8_e4m3fn", (16, 16), codes.view(torch.uint8))
    eye = torch.eye(16).bfloat16()
    want = codes.float().t().bfloat16()
    assert torch.equal(fp8_linear_reference(eye, packed, None), want)


@pytest.mark.parametrize(
    ("scheme", "shape", "suits"),
    [
        ("fp8_e4m3fn", (128, 48), True),
        ("fp8_e4m3fn", (112, 48), False),
        ("fp8_e4m3fn", (128, 40), False),
        ("fp8_e4m3fn", (136, 32), False),
        ("fp8_e4m3fn", (0, 32), False),
        ("fp8_e5m2", (32, 48), False),
        ("int8", (32, 48), False),
    ],
)
def test_which_weights_are_multiplied_as_they_are(
    scheme: str, shape: tuple[int, int], suits: bool
) -> None:
    assert suits_fp8(Packed(scheme, shape, torch.zeros(shape, dtype=torch.uint8))) == suits


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide = QuantLinear(pack(random(128, 48), "fp8_e4m3fn", by_channel=True))
        self.kept = QuantLinear(pack(random(128, 48), "fp8_e4m3fn", by_channel=True))
        self.odd = QuantLinear(pack(random(31, 48), "fp8_e4m3fn", by_channel=True))
        self.plain = nn.Linear(48, 32)


def test_only_layers_that_can_and_that_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module, names = Two(), {"wide.weight", "odd.weight", "plain.weight"}
    assert multiply_in_fp8(module, names, CPU) == 0
    monkeypatch.setattr(linear, "can_multiply", lambda device: True)
    assert multiply_in_fp8(module, names, CPU) == 1
    assert (module.wide.in_fp8, module.kept.in_fp8, module.odd.in_fp8) == (True, False, False)
    x = random(3, 48).bfloat16()
    # moved to the CPU after all, it unpacks
    assert torch.equal(module.wide(x), module.kept(x))


@pytest.mark.parametrize("wrapped", [False, True])
def test_layers_that_share_an_input_round_it_once(
    wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounded: list[Tensor] = []

    def counted(x: Tensor) -> tuple[Tensor, Tensor]:
        rounded.append(x)
        return quantise_rows_reference(x.reshape(-1, x.shape[-1]))

    def multiplied(
        x: Tensor, packed: Packed, bias: Tensor | None, given: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        assert (given is not None) != wrapped
        return fp8_linear_reference(x, packed, bias)

    monkeypatch.setattr(QuantLinear, "rounds", lambda self, x: True)
    monkeypatch.setattr(linear, "rounded_inputs", counted)
    monkeypatch.setattr(linear, "fp8_linear", multiplied)
    module, x = Two(), random(2, 3, 48).bfloat16()
    last = nn.Sequential(module.odd) if wrapped else module.odd
    results = linear.project(x, module.wide, module.kept, last)
    assert len(rounded) == (not wrapped)
    for layer, result in zip((module.wide, module.kept, module.odd), results, strict=True):
        assert torch.equal(result, fp8_linear_reference(x, layer.packed, None))


def test_devices_that_do_not_multiply_8_bit_floats() -> None:
    assert not can_multiply(CPU)
    assert torch.cuda.is_available() or not can_multiply(torch.device("cuda"))


def test_a_broken_kernel_costs_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no C compiler")

    monkeypatch.setattr(failures._everywhere, "told", set())
    monkeypatch.setattr(rows, "_broken", "")
    monkeypatch.setattr(rows, "_suits", lambda x: True)
    monkeypatch.setattr(rows, "_kernel", lambda: None if rows._broken else broken)
    x = random(4, 32)
    want = quantise_rows_reference(x)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            got = quantise_rows(x)
            assert torch.equal(got[0].float(), want[0].float())
            assert torch.equal(got[1], want[1])
    assert [record.getMessage().count("no C compiler") for record in caplog.records] == [1]


def test_a_run_hears_of_a_broken_kernel(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no C compiler \x1b[31m\nmore")

    monkeypatch.setattr(rows, "_broken", "")
    monkeypatch.setattr(rows, "_suits", lambda x: True)
    monkeypatch.setattr(rows, "_kernel", lambda: None if rows._broken else broken)
    heard: list[tuple[str, str]] = []
    with telling(lambda what, instead: heard.append((what, instead))):
        quantise_rows(random(4, 32))
        quantise_rows(random(4, 32))
    with telling(lambda what, instead: heard.append((what, instead))):  # the next run
        quantise_rows(random(4, 32))
        quantise_rows(random(4, 32))
    (what, instead), again = heard
    assert again == (what, instead)
    assert what == "the kernel that quantises inputs failed (no C compiler ?[31m)"
    assert "slower" in instead
    assert not caplog.records


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (ModuleNotFoundError("No module named 'triton'"), "No module named 'triton'"),
        (RuntimeError("0 active drivers"), "0 active drivers"),
        (OSError(), "OSError"),
    ],
)
def test_a_kernel_that_cannot_be_imported_is_missing(
    fault: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of Triton that is not there, and of one that is and does not fit."""

    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name.endswith("_triton"):
                raise fault

    for name in ("rows_triton", "norm_rotate_triton"):
        monkeypatch.delitem(sys.modules, f"wan_core.kernels.{name}", raising=False)
        monkeypatch.delattr(f"wan_core.kernels.{name}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.setattr(rows, "_broken", "")
    monkeypatch.setattr(rows, "_suits", lambda x: True)
    heard: list[str] = []
    x = random(4, 32)
    with telling(lambda what, instead: heard.append(what)):
        codes, scales = quantise_rows(x)
    assert torch.equal(codes.float(), quantise_rows_reference(x)[0].float())
    assert torch.equal(scales, quantise_rows_reference(x)[1])
    assert heard == [f"the kernel that quantises inputs failed ({why})"]
    # the other one is looked for when its module is imported
    assert runpy.run_path(norm_rotate.__file__)["fused"] is None


SHORT = (
    torch.OutOfMemoryError("full"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
)


@pytest.mark.parametrize("error", SHORT)
def test_memory_that_is_short_is_no_broken_kernel(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Tensor) -> Any:
        raise error

    monkeypatch.setattr(rows, "_suits", lambda x: True)
    monkeypatch.setattr(rows, "_kernel", lambda: full)
    with pytest.raises(RuntimeError) as caught:
        quantise_rows(random(4, 32))
    assert caught.value is error
    assert not rows._broken


@pytest.mark.parametrize("error", SHORT)
def test_memory_that_is_short_says_nothing_of_products(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the whole process would go on without them."""
    failing = [error]

    def product(x: Tensor, *_: Any) -> Tensor:
        if failing:
            raise failing.pop()
        return x

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch, "ones", partial(_on_the_cpu, torch.ones))
    monkeypatch.setattr(products, "fp8_linear", product)
    can_multiply.cache_clear()
    device = torch.device("cuda:0")
    try:
        with pytest.raises(RuntimeError) as caught:
            can_multiply(device)
        assert caught.value is error
        assert can_multiply(device)
    finally:
        can_multiply.cache_clear()


def _on_the_cpu(make: Any, *shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    made: Tensor = make(*shape, dtype=dtype)
    return made


def test_the_layer_is_captured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on the CPU, whose products say that shapes and types are what torch takes."""
    monkeypatch.setattr(QuantLinear, "rounds", lambda self, x: self.in_fp8)
    layer = QuantLinear(pack(random(128, 48), "fp8_e4m3fn", by_channel=False), random(128, seed=2))
    layer.in_fp8 = True
    x = random(2, 5, 48, seed=1).bfloat16()
    with torch.no_grad():
        got = torch.compile(layer, fullgraph=True, backend="eager")(x)
        assert layer.bias is not None
        want = fp8_linear_reference(x, layer.packed, layer.bias.bfloat16())
    assert (got.float() - want.float()).norm() < 5e-3 * want.float().norm()
