"""A transformer that is quantised while it is loaded: what plans say of it, and what it predicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import wan_core.models
from wan_core.contract import Quantization
from wan_core.contract.errors import ResourceError, WanCoreError
from wan_core.contract.requests import LoadRequest
from wan_core.models.families.tiny import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.planning import Plan, make_plan
from wan_core.planning.known import what_is_known
from wan_core.planning.phases import predict_memory
from wan_core.planning.quantising import why_products_are_exact
from wan_core.plugins import Plugins
from wan_core.weights import QuantLinear
from wan_core.weights.quantised import linear, products
from wan_core.weights.quantised.packed import pack
from wan_core.workflow import Workflow, parse_workflow, to_toml

TINY = Path(wan_core.models.__file__).parent / "tiny" / "t2v.safetensors"


def workflow(folder: Path, more: str = "", family: str = "tiny-t2v") -> Workflow:
    text = (
        f'format = 1\n[model]\nfamily = "{family}"\nprecision = "float32"\n{more}\n'
        '[[stages]]\nuse = "generate"\nprompt = "x"\n'
    )
    return parse_workflow(text, name="w.toml", folder=folder, plugins=Plugins.discover())


def plan(folder: Path, more: str = "", family: str = "tiny-t2v") -> Plan:
    return make_plan(workflow(folder, more, family), Plugins.discover(), device="cpu")


@pytest.mark.parametrize("scheme", ["fp8_e4m3fn", "fp8_e5m2", "int8", "int4"])
@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_no_number_does_not_become_one(
    scheme: str, by_channel: bool, broken: float
) -> None:
    """Else a damaged file would give a video, only another one."""
    weight = torch.ones(3, 128)
    weight[1, 5] = broken
    dense = pack(weight, scheme, by_channel=by_channel).dense()
    assert not dense[1].isfinite().all()
    if by_channel:
        assert dense[[0, 2]].isfinite().all()


@pytest.mark.parametrize("scheme", ["fp8_e4m3fn", "fp8_e5m2", "int8", "int4"])
def test_rows_too_small_for_a_scale_become_zeros(scheme: str) -> None:
    weight = torch.zeros(2, 64)
    weight[0, 0] = 1e-45
    assert not pack(weight, scheme, by_channel=True).dense().any()


@pytest.mark.parametrize("scheme", ["fp8_e4m3fn", "fp8_e5m2", "int8"])
@pytest.mark.parametrize("by_channel", [True, False])
def test_the_largest_value_becomes_the_largest_code(scheme: str, by_channel: bool) -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [8.0, 4.0, 0.25]])
    kept = weight.clone()
    packed = pack(weight, scheme, by_channel=by_channel)
    assert torch.equal(weight, kept)
    dense = packed.dense()
    assert dense[2, 0] == 8
    assert dense[0].tolist() == [0, 0, 0]
    assert packed.scale is not None
    assert packed.scale.shape == ((3, 1) if by_channel else (1, 1))
    if by_channel:
        assert dense[1, 1] == -2
    step = {"fp8_e4m3fn": 1 / 16, "fp8_e5m2": 1 / 8, "int8": 0}[scheme]  # half of a last digit
    bound = step * weight.abs() + packed.scale / 2
    assert ((dense - weight).abs() <= bound).all()


@pytest.mark.parametrize(
    ("asked", "bound"),
    [
        (Quantization(), 0.05),
        (Quantization(scale="tensor"), 0.05),
        (Quantization(dtype="fp8_e5m2"), 0.1),
        (Quantization(dtype="int8"), 0.02),
        (Quantization(dtype="int4"), 0.13),
        (Quantization(products="fp8"), 0.05),
        (Quantization(dtype="int8", keep=("blocks.0.*", "*.ffn.?")), 0.02),
    ],
)
def test_loading_is_as_planned(tmp_path: Path, asked: Quantization, bound: float) -> None:
    keep = ", ".join(f'"{one}"' for one in asked.keep)
    more = (
        f'[model.quantization]\ndtype = "{asked.dtype}"\nscale = "{asked.scale}"\nkeep = [{keep}]\n'
        f'products = "{asked.products}"'
    )
    model = plan(tmp_path, more).models["main"]
    assert model.quantization == asked
    component = TINY_T2V.components["transformer"]
    request = LoadRequest("transformer", component, TINY, torch.device("cpu"), torch.float32)
    denoiser = load_transformer(attrs.evolve(request, quantization=asked))
    layers = {
        name: one
        for name, one in denoiser.transformer.named_modules()
        if isinstance(one, QuantLinear)
    }
    assert all(name.startswith("blocks.") for name in layers)
    assert ("blocks.0.self_attn.q" in layers) == (not asked.keep)
    assert "blocks.1.self_attn.q" in layers
    assert ("blocks.1.ffn.0" in layers) == (not asked.keep)
    # whose 544 inputs are no whole groups of 64
    assert ("blocks.1.ffn.2" in layers) == (not asked.keep and asked.dtype != "int4")
    parts = [*denoiser.transformer.parameters(), *denoiser.transformer.buffers()]
    assert model.resident_bytes("transformer") == sum(one.nbytes for one in parts)
    original = load_transformer(request).transformer
    for name, layer in layers.items():
        weight = original.get_submodule(name).weight
        assert (layer.dequantised() - weight).norm() < bound * weight.norm()


def test_plans_and_written_workflows_say_so(tmp_path: Path) -> None:
    plain, packed = plan(tmp_path), plan(tmp_path, "quantization = {}")
    assert packed.models["main"].quantization == Quantization()
    assert plain.models["main"].quantization is None
    weights = [p.models["main"].resident_bytes("transformer") for p in (packed, plain)]
    assert weights[0] < 0.5 * weights[1]
    text = to_toml(workflow(tmp_path, 'quantization = { dtype = "int8", keep = ["blocks.0.*"] }'))
    again = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=Plugins.discover())
    assert again.models["main"].quantization == Quantization("int8", keep=("blocks.0.*",))
    said = dict(packed.describe())["Models"]
    assert said[0].endswith("transformer in fp8_e4m3fn")


@pytest.mark.parametrize(
    ("more", "family", "says"),
    [
        (
            'quantization = { dtype = "int4", scale = "tensor" }',
            "tiny-t2v",
            r'quantization\.scale: scale can\'t be "tensor": int4 has a scale for each group of 64',
        ),
        (
            'quantization = { dtype = "int8", products = "fp8" }',
            "tiny-t2v",
            r'quantization\.products: products can be "fp8" only with dtype = "fp8_e4m3fn", not int8',
        ),
        (
            'transformer = "q.safetensors"\nquantization = { products = "fp8", scale = "tensor" }',
            "tiny-t2v",
            "is quantised already and has scales of its own; leave scale out",
        ),
        (
            'transformer = "e5m2.safetensors"\nquantization = { products = "fp8" }',
            "tiny-t2v",
            r"is fp8 e5m2, no scales, and products in fp8 need weights in fp8 e4m3fn; leave products",
        ),
        (
            'transformer = "stored.safetensors"\nquantization = { products = "fp8" }',
            "tiny-t2v",
            "says of its weights that they are not to be multiplied in fp8; leave products out",
        ),
        (
            'transformer = "q.safetensors"\nquantization = { products = "fp8", keep = ["q"] }',
            "tiny-t2v",
            'keep names "q", which no layer is called',
        ),
        ('quantization = { dtype = "fp4" }', "tiny-t2v", r"dtype must be .*fp8_e4m3fn"),
        ('quantization = { keep = ["block.0"] }', "tiny-t2v", "no layer is called .*blocks.0.self"),
        ("quantization = {}", "tiny-random", "can't be quantised while it is loaded; leave"),
        (
            'transformer = "q.safetensors"\nquantization = {}',
            "tiny-t2v",
            r"q\.safetensors is quantised already \(fp8 e4m3fn, no scales\); leave quantization out",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, more: str, family: str, says: str) -> None:
    save_file(in_fp8(torch.float8_e4m3fn), tmp_path / "q.safetensors")
    save_file(in_fp8(torch.float8_e5m2), tmp_path / "e5m2.safetensors")
    marker = {"scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}
    save_file(in_fp8(torch.float8_e4m3fn) | marker, tmp_path / "stored.safetensors")
    with pytest.raises(WanCoreError, match=says):
        plan(tmp_path, more, family)


def in_fp8(kind: torch.dtype) -> dict[str, torch.Tensor]:
    """The bundled transformer with codes for its matrices."""
    held = load_file(TINY).items()
    return {name: tensor.to(kind) if tensor.ndim == 2 else tensor for name, tensor in held}


NOTE = "products in fp8 were asked for, but weights are unpacked here: "


@pytest.mark.parametrize(
    ("device", "dtype", "can", "says"),
    [
        ("cuda:0", "float16", True, f"{NOTE}the precision is float16, not bfloat16"),
        ("cpu", "bfloat16", True, f"{NOTE}cpu doesn't multiply 8-bit floats"),
        ("cuda:0", "bfloat16", False, f"{NOTE}this card or this build of torch doesn't multiply"),
        ("cuda:0", "bfloat16", True, None),
    ],
)
def test_why_products_are_exact(
    device: str, dtype: str, can: bool, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "can_multiply", lambda device: can)
    found = why_products_are_exact(Quantization(products="fp8"), device, dtype)
    assert found == says if says is None else found and found.startswith(says)
    assert why_products_are_exact(Quantization(), device, dtype) is None
    assert why_products_are_exact(None, device, dtype) is None


def test_a_gpu_without_room_for_a_product_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(device: torch.device) -> bool:
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")

    monkeypatch.setattr(products, "can_multiply", full)
    with pytest.raises(
        ResourceError, match=r"^cuda:0 has no memory left for a single product; close"
    ):
        why_products_are_exact(Quantization(products="fp8"), "cuda:0", "bfloat16")


def test_products_on_a_file_that_is_in_fp8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its codes stay as they are, and only the layers of blocks multiply them."""
    held = in_fp8(torch.float8_e4m3fn)
    held["blocks.2.self_attn.q.weight"] = load_file(TINY)["blocks.2.self_attn.q.weight"]
    note = json.dumps({"format": "float8_e4m3fn", "full_precision_matrix_mult": True}).encode()
    held["blocks.3.ffn.0.comfy_quant"] = torch.tensor(list(note), dtype=torch.uint8)
    held["scaled_fp8"] = torch.zeros(0)
    with safe_open(str(TINY), framework="pt") as file:
        save_file(held, tmp_path / "q.safetensors", file.metadata())
    asked = 'quantization = { products = "fp8", keep = ["blocks.0.*"] }'
    made = plan(tmp_path, f'transformer = "q.safetensors"\n{asked}')
    model = made.models["main"]
    assert model.quantization == Quantization(products="fp8", keep=("blocks.0.*",))
    said = dict(made.describe())
    assert said["Models"][0].endswith("transformer in fp8_e4m3fn, products in fp8")
    assert any(note.startswith(NOTE) for note in said["Notes"])
    monkeypatch.setattr(linear, "can_multiply", lambda device: True)
    component = TINY_T2V.components["transformer"]
    file = model.files["transformer"].path
    request = LoadRequest("transformer", component, file, torch.device("cpu"), torch.float32)
    loaded = load_transformer(attrs.evolve(request, quantization=model.quantization)).transformer
    layers = {n: m for n, m in loaded.named_modules() if isinstance(m, QuantLinear)}
    fast = {name for name, layer in layers.items() if layer.in_fp8}
    assert "blocks.1.self_attn.q" in fast
    assert all(name.startswith("blocks.") for name in fast)
    assert not any(name.startswith("blocks.0.") for name in fast)
    assert "blocks.0.self_attn.q" in layers
    assert "blocks.3.ffn.0" in layers.keys() - fast  # of which the file says so
    # a matrix that the file holds in plain numbers stays so
    assert "blocks.2.self_attn.q" not in layers
    assert torch.equal(
        layers["blocks.1.self_attn.q"].payload,
        held["blocks.1.self_attn.q.weight"].view(torch.uint8),
    )


def test_products_need_room_for_the_codes_of_inputs(tmp_path: Path) -> None:
    made = plan(tmp_path, 'quantization = { products = "fp8" }')
    known = what_is_known(made.stages[0], made.models)
    assert known is not None

    def activations(**changes: Any) -> int:
        changed = attrs.evolve(known, model=attrs.evolve(known.model, **changes))
        phases = predict_memory(made.stages[0], changed)
        return next(p.activations for p in phases if p.part == "sampling")

    size = known.size
    tokens = ((size.frames - 1) // 4 + 1) * (size.height // 16) * (size.width // 16)
    there = {"device": "cuda:0", "dtype": "bfloat16"}
    without = activations(**there, quantization=Quantization())
    codes = tokens * 544
    assert activations(**there) - without == pytest.approx(codes * 1.03, abs=2)
    # on the CPU weights are unpacked
    here = {"dtype": "bfloat16"}
    assert activations(**here) == activations(**here, quantization=Quantization())
