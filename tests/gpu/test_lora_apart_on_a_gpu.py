"""On a GPU: LoRA files apart give what merged ones give, on bfloat16 and on fp8, eager, compiled and swapped.

Skipped where there is no CUDA device.
"""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from wan_core.contract.loras import LoraUse
from wan_core.memory import BlockSwap, CudaCopier
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.weights import QuantLinear, StateDict
from wan_core.weights.lora import LoraFile, LoraTargets, beside, keep_apart, merge, read_lora
from wan_core.weights.lora.sizes import apart_bytes
from wan_core.weights.quantised.packed import pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
LAYERS = 6


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture(params=["bfloat16", "fp8"])
def transformer(request: pytest.FixtureRequest) -> WanTransformer:
    torch.manual_seed(0)
    with torch.device("cuda"):
        config = WanConfig(dim=1024, ffn_dim=4096, num_heads=8, num_layers=LAYERS)
        model = WanTransformer(config).requires_grad_(False)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=0.02)
        if not any(fnmatchcase(name, pattern) for pattern in WanTransformer.KEEP_FLOAT32):
            parameter.data = parameter.data.bfloat16()
    if request.param == "fp8":
        for name, module in list(model.blocks.named_modules()):
            if type(module) is nn.Linear:
                packed = pack(module.weight.float(), "fp8_e4m3fn", by_channel=True)
                layer = QuantLinear(packed, module.bias.data, torch.bfloat16)
                model.blocks.set_submodule(name, layer)
    return model.eval()


def worth(model: WanTransformer) -> WanTransformer:
    """The same with plain float32 weights in place of codes."""
    made = copy.deepcopy(model)
    for name, module in list(made.named_modules()):
        if isinstance(module, QuantLinear):
            layer = nn.Linear(module.in_features, module.out_features, device="cuda")
            layer.weight.data = module.dequantised(torch.float32)
            layer.bias.data = module.bias.data
            made.set_submodule(name, layer)
    return made.requires_grad_(False)


def file_for(model: WanTransformer, seed: int = 1, rank: int = 32) -> LoraFile:
    generator = torch.Generator("cuda").manual_seed(seed)
    shapes = {name: tuple(p.shape) for name, p in worth(model).named_parameters()}
    held: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        path = name.removesuffix(".weight")
        if name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2:
            for part, size in (("A", (rank, shape[1])), ("B", (shape[0], rank))):
                draw = torch.randn(size, generator=generator, device="cuda")
                held[f"{path}.lora_{part}.weight"] = draw * (1 if part == "A" else 0.004)
        elif name.endswith("norm_q.weight"):
            held[f"{path}.diff"] = 0.05 * torch.randn(shape, generator=generator, device="cuda")
    return read_lora(StateDict(held), LoraTargets(shapes))


def merged(model: WanTransformer, file: LoraFile) -> WanTransformer:
    made = worth(model)
    own = made.state_dict()
    for patch in file.patches:
        own[patch.target].copy_(merge(own[patch.target], [patch], file.source))
    for name, parameter in made.named_parameters():
        if not any(fnmatchcase(name, pattern) for pattern in WanTransformer.KEEP_FLOAT32):
            parameter.data = parameter.data.bfloat16()
    return made


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator("cuda").manual_seed(5)
    latents = torch.randn(1, 16, 9, 30, 52, device="cuda", generator=generator)
    text = torch.randn(1, 512, 4096, device="cuda", generator=generator).bfloat16()
    return latents, torch.tensor([723.0], device="cuda"), text


def error(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


@pytest.mark.parametrize("route", [True, False, None])
@torch.no_grad()
def test_apart_is_merged_within_rounding(
    transformer: WanTransformer, route: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if route is not None:
        monkeypatch.setattr(beside, "through_the_weight", lambda *sizes: route)
    file = file_for(transformer)
    want, base = merged(transformer, file)(*inputs()), transformer(*inputs())
    kept = keep_apart(transformer, [(file, LoraUse("a"))], dtype=torch.bfloat16)
    got = transformer(*inputs())
    assert error(got, want) < 0.02
    assert error(base, want) > 5 * error(got, want)
    kept.set_strength(0, 0.0)
    assert error(transformer(*inputs()), base) < 0.01
    kept.detach()
    assert torch.equal(transformer(*inputs()), base)


@torch.no_grad()
def test_swapped_and_compiled_with_sets_that_change(transformer: WanTransformer) -> None:
    files = [(file_for(transformer, seed), LoraUse(str(seed))) for seed in (1, 2)]
    plain = copy.deepcopy(transformer)
    eager = keep_apart(plain, files, dtype=torch.bfloat16)
    kept = keep_apart(transformer, files, dtype=torch.bfloat16)
    for block in transformer.blocks:
        block.compile(fullgraph=True)
    transformer(*inputs())
    graphs = counters["stats"]["unique_graphs"]
    swap = BlockSwap(transformer, ["blocks.1", "blocks.3", "blocks.5"], 1, CudaCopier())
    outputs = []
    with swap.active():
        for strengths in ((1.0, 0.0), (0.0, 1.0), (0.5, -0.5), (0.0, 0.0)):
            for one in (eager, kept):
                one.assign([(strength,) for strength in strengths])
            outputs.append(transformer(*inputs()))
            assert error(outputs[-1], plain(*inputs())) < 0.01
    assert graphs == 1 == counters["stats"]["unique_graphs"]
    assert all(error(one, other) > 0.01 for one, other in pairwise(outputs))


@torch.no_grad()
def test_bytes_on_the_device(transformer: WanTransformer) -> None:
    """Factors of resident blocks and of as many blocks as there are slots, as the plan counts them."""
    names = ["blocks.1", "blocks.3", "blocks.4"]
    file, shapes = (
        file_for(transformer),
        {n: tuple(p.shape) for n, p in worth(transformer).named_parameters()},
    )
    swap = BlockSwap(transformer, names, 1, CudaCopier())

    def on_the_device() -> int:
        with swap.active():
            torch.cuda.synchronize()
            count: int = torch.cuda.memory_stats()["requested_bytes.all.current"]
            return count

    before = on_the_device()  # the file itself is there in both
    keep_apart(transformer, [(file, LoraUse("a"))], device="cuda", dtype=torch.bfloat16)
    swap.settle()
    added = apart_bytes(file, LoraUse("a"), shapes, 2)
    resident = sum(count for name, count in added.items() if name not in names)
    predicted = resident + 2 * max(added[name] for name in names)
    assert on_the_device() - before == pytest.approx(predicted, rel=0.1)
