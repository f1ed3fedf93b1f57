"""A transformer that is quantised while it is loaded: what plans say of it, and what it predicts."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file

import wan_core.models
from wan_core.contract import Quantization
from wan_core.contract.errors import WanCoreError
from wan_core.contract.requests import LoadRequest
from wan_core.models.families.tiny import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.planning import Plan, make_plan
from wan_core.plugins import Plugins
from wan_core.weights import QuantLinear
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
        (Quantization(dtype="int8", keep=("blocks.0.*", "*.ffn.?")), 0.02),
    ],
)
def test_loading_is_as_planned(tmp_path: Path, asked: Quantization, bound: float) -> None:
    keep = ", ".join(f'"{one}"' for one in asked.keep)
    more = (
        f'[model.quantization]\ndtype = "{asked.dtype}"\nscale = "{asked.scale}"\nkeep = [{keep}]'
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
    held = {
        name: tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor
        for name, tensor in load_file(TINY).items()
    }
    save_file(held, tmp_path / "q.safetensors")
    with pytest.raises(WanCoreError, match=says):
        plan(tmp_path, more, family)
