"""LoRA files beside weights: each form, precision and route gives what merging gives, within rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from wan_core.contract.loras import LoraUse
from wan_core.weights import QuantLinear, StateDict
from wan_core.weights.lora import (
    KeptApart,
    LoraLinear,
    LoraTargets,
    beside,
    keep_apart,
    merge,
    read_lora,
)
from wan_core.weights.lora.matching import LoraFile
from wan_core.weights.lora.routes import through_the_weight
from wan_core.weights.lora.sizes import apart_bytes
from wan_core.weights.quantised.layouts import GGUF_BLOCKS
from wan_core.weights.quantised.packed import Packed, pack

INPUTS, OUTPUTS = 256, 32
SHAPES = {"x.weight": (OUTPUTS, INPUTS), "x.bias": (OUTPUTS,)}
TARGETS = LoraTargets(SHAPES)

FORMS: dict[str, dict[str, tuple[int, ...]]] = {
    "pair": {"lora_A.weight": (4, INPUTS), "lora_B.weight": (OUTPUTS, 4), "alpha": ()},
    "pair and bias": {
        "lora_A.weight": (4, INPUTS),
        "lora_B.weight": (OUTPUTS, 4),
        "diff_b": (OUTPUTS,),
    },
    "loha": {
        f"hada_w{i}_{k}": (OUTPUTS, 3) if k == "a" else (3, INPUTS) for i in (1, 2) for k in "ab"
    },
    "lokr": {"lokr_w1": (4, 8), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 32), "alpha": ()},
    "diff": {"diff": (OUTPUTS, INPUTS)},
    "set": {"set_weight": (OUTPUTS, INPUTS)},
    "dora by rows": {
        "lora_A.weight": (4, INPUTS),
        "lora_B.weight": (OUTPUTS, 4),
        "dora_scale": (OUTPUTS, 1),
    },
    "dora by columns": {
        "lora_A.weight": (4, INPUTS),
        "lora_B.weight": (OUTPUTS, 4),
        "dora_scale": (1, INPUTS),
    },
    "peft's dora": {
        "lora_A.weight": (4, INPUTS),
        "lora_B.weight": (OUTPUTS, 4),
        "lora_magnitude_vector": (OUTPUTS,),
    },
}
PLAIN = {one: getattr(torch, one) for one in ("float32", "bfloat16", "float16")}
CODES = ("fp8_e4m3fn", "fp8_e5m2", "fp8_e4m3fn by channel", "int8", "int4", "nvfp4", "mxfp8")
BASES = (*PLAIN, *CODES, *GGUF_BLOCKS)


def random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def file_of(form: str, seed: int = 1) -> LoraFile:
    held = {
        f"x.{part}": 0.2 * random(s, seed + i) for i, (part, s) in enumerate(FORMS[form].items())
    }
    for part in ("alpha", "dora_scale", "lora_magnitude_vector"):
        if f"x.{part}" in held:
            held[f"x.{part}"] = held[f"x.{part}"].abs() + 2
    file = read_lora(StateDict(held), TARGETS)
    assert not file.unmatched
    return file


class Model(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.x = layer


def model(base: str) -> tuple[Model, Tensor, Tensor, torch.dtype]:
    """A model of one layer, what its weight and bias are worth in float32, and the dtype of its input."""
    weight, bias = 0.1 * random((OUTPUTS, INPUTS), 7), random((OUTPUTS,), 8)
    dtype = PLAIN.get(base, torch.bfloat16)
    bias = bias.to(dtype)
    if base in PLAIN:
        layer = nn.Linear(INPUTS, OUTPUTS).requires_grad_(False).to(dtype)
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        return Model(layer), layer.weight.float(), bias.float(), dtype
    packed = _packed(base, weight)
    return Model(QuantLinear(packed, bias, dtype)), packed.dense(), bias.float(), dtype


def _packed(base: str, weight: Tensor) -> Packed:
    generator = torch.Generator().manual_seed(3)

    def codes(*shape: int, below: int = 256) -> Tensor:
        return torch.randint(0, below, shape, generator=generator, dtype=torch.uint8)

    if base in GGUF_BLOCKS:
        values, nbytes = GGUF_BLOCKS[base]
        # bytes of a small float16, wherever in a block its scales are
        blocks = codes(OUTPUTS, INPUTS // values * nbytes, below=40)
        return Packed(base, (OUTPUTS, INPUTS), blocks)
    if base == "mxfp8":
        scales = 120 + codes(OUTPUTS, INPUTS // 32, below=4)
        return Packed(base, (OUTPUTS, INPUTS), codes(OUTPUTS, INPUTS, below=80), None, scales)
    if base == "nvfp4":
        scales = torch.full((OUTPUTS, INPUTS // 16), 0.5).to(torch.float8_e4m3fn).view(torch.uint8)
        half = codes(OUTPUTS, INPUTS // 2)
        return Packed(base, (OUTPUTS, INPUTS), half, torch.tensor([[0.05]]), scales)
    return pack(weight, base.split()[0], by_channel=base.endswith("channel"))


@pytest.fixture(params=[True, False], ids=["through the weight", "through the factors"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    monkeypatch.setattr(beside, "through_the_weight", lambda *sizes: request.param)
    yield request.param


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_apart_is_merged_within_rounding(form: str, base: str, route: bool) -> None:
    made, weight, bias, dtype = model(base)
    file, other, x = file_of(form), file_of("pair", 30), random((2, 5, INPUTS), 9).to(dtype)
    before = made.x(x)
    uses = [(file, LoraUse("a", 0.7)), (other, LoraUse("b", -0.5))]
    kept = keep_apart(made, uses, dtype=dtype)
    assert isinstance(made.x, LoraLinear)
    for strengths in ((0.7, -0.5), (1.5, 0.0), (0.0, 0.0)):
        kept.assign([(one,) for one in strengths])
        want_weight, want_bias = weight, bias
        for (one, _), strength in zip(uses, strengths, strict=True):
            for patch in one.patches:
                if patch.target == "x.weight":
                    want_weight = merge(want_weight, [patch], one.source, strength)
                else:
                    want_bias = merge(want_bias, [patch], one.source, strength)
        want = F.linear(x.float(), want_weight, want_bias)
        got = made.x(x)
        assert got.dtype == dtype and got.shape == want.shape
        # roundings of the weight, the factors and the result, to 24, 11 or 8 bits, in sums of 256
        tolerance = {torch.float32: 2e-6, torch.float16: 2e-3}.get(dtype, 0.012)
        assert float((got.float() - want).abs().max()) <= tolerance * float(want.abs().max())
    if form != "diff":
        assert torch.equal(got, before) or base not in PLAIN
    kept.detach()
    assert torch.equal(made.x(x), before)
    assert type(made.x) in (nn.Linear, QuantLinear)
    assert not any("lora" in name for name in made.state_dict())


def test_the_way_follows_from_the_numbers() -> None:
    """Text rows go through the factors, the tokens of a video through the weight; rank moves the border."""
    assert not through_the_weight(512, 64, 5120, 5120)
    assert through_the_weight(32760, 64, 5120, 5120)
    border = next(t for t in range(1, 10**5) if through_the_weight(t, 64, 5120, 5120))
    assert border == 3213
    wide = next(t for t in range(1, 10**5) if through_the_weight(t, 64, 5120, 13824))
    assert wide > border
    assert not through_the_weight(10**6, 10**6, 8, 8) or through_the_weight(10**6, 1, 8, 8)


@torch.no_grad()
def test_layers_take_the_way_that_costs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def choose(*sizes: int) -> bool:
        asked.append(sizes)
        return False

    monkeypatch.setattr(beside, "through_the_weight", choose)
    made, *_ = model("float32")
    keep_apart(made, [(file_of("pair"), LoraUse("a")), (file_of("pair", 3), LoraUse("b"))])
    made.x(torch.ones(3, 7, INPUTS))
    assert asked == [(21, 8, INPUTS, OUTPUTS)]
    asked.clear()
    made.x.rounds = lambda x: True  # it multiplies codes: there is no weight to add to
    made.x(torch.ones(3, 7, INPUTS))
    assert not asked


@torch.no_grad()
def test_a_small_change_is_not_lost_in_a_small_precision() -> None:
    """A change below half a step of bfloat16 counts where it is not added to the weight."""
    made, *_ = model("bfloat16")
    made.x.weight.fill_(1)
    made.x.bias.zero_()
    down = torch.zeros(1, INPUTS)
    down[0, :2] = torch.tensor([1e-3, -1e-3])
    held = {"x.lora_A.weight": down, "x.lora_B.weight": torch.ones(OUTPUTS, 1)}
    keep_apart(made, [(read_lora(StateDict(held), TARGETS), LoraUse("a"))])
    x = torch.zeros(1, INPUTS, dtype=torch.bfloat16)
    x[0, :2] = torch.tensor([1.0, -1.0])  # for which the weight alone gives 0
    assert float(made.x(x)[0, 0]) == pytest.approx(2e-3, rel=1e-2)


# -- other tensors of a model ----------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.zeros(1, 6, 8))
        self.norm = nn.LayerNorm(8)
        self.x = nn.Linear(8, 8)
        self.conv = nn.Conv1d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x) + self.modulation[:, 0]
        mixed: Tensor = self.conv(self.x(x).unsqueeze(2)).squeeze(2)
        return mixed


def blocks(count: int = 3) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"blocks": nn.ModuleList(Block() for _ in range(count))}).requires_grad_(
        False
    )


def whole_file(seed: int = 0, count: int = 3) -> LoraFile:
    shapes = {n: tuple(p.shape) for n, p in blocks(count).state_dict().items()}
    parts: dict[str, tuple[int, ...]] = {}
    for i in range(count):
        at = f"blocks.{i}"
        parts |= {f"{at}.diff_m": (1, 6, 8)}
        parts |= {f"{at}.norm.diff": (8,), f"{at}.norm.diff_b": (8,), f"{at}.x.diff_b": (8,)}
        parts |= {f"{at}.x.lora_A.weight": (2, 8), f"{at}.x.lora_B.weight": (8, 2)}
        parts |= {f"{at}.conv.lora_A.weight": (2, 8, 1), f"{at}.conv.lora_B.weight": (8, 2, 1)}
    held = {name: random(shape, seed + i) for i, (name, shape) in enumerate(parts.items())}
    file = read_lora(StateDict(held), LoraTargets(shapes))
    assert not file.unmatched
    return file


def run(made: nn.ModuleDict, x: Tensor) -> Tensor:
    for block in made["blocks"]:  # type: ignore[union-attr]
        x = block(x)
    return x


@torch.no_grad()
def test_every_tensor_of_a_model() -> None:
    """Norms, biases, modulation and convolutions change where they are read; names stay."""
    made, x, file = blocks(), random((5, 8), 4), whole_file()
    use = LoraUse("a", 0.6, blocks={"0": 1.0, "1": -0.5})
    names = list(made.state_dict())
    keep_apart(made, [(file, use)])
    kept_names = made.state_dict()
    assert [name for name in kept_names if ".lora." not in name] == names
    assert "blocks.0.x.lora.down" in kept_names
    assert not any(name.startswith("blocks.2.") and ".lora." in name for name in kept_names)
    merged = blocks()
    own = merged.state_dict()
    for patch in file.patches:
        factor = {"0": 1.0, "1": -0.5, "2": 0.0}[patch.target.split(".")[1]]
        own[patch.target].copy_(merge(own[patch.target], [patch], file.source, 0.6 * factor))
    want = run(merged, x)
    assert torch.allclose(run(made, x), want, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(run(blocks(), x), want, atol=0.1)


@torch.no_grad()
def test_strengths_and_sets_change_without_another_compilation() -> None:
    made, x, counter = blocks(), random((5, 8), 4), CompileCounter()
    files = [whole_file(), whole_file(50)]
    kept = keep_apart(made, [(file, LoraUse(str(i))) for i, file in enumerate(files)])
    eager = blocks()
    other = keep_apart(eager, [(file, LoraUse(str(i))) for i, file in enumerate(files)])
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for block in made["blocks"]:  # type: ignore[union-attr]
        block.compile(backend=counter, fullgraph=True)
    sets: list[list[tuple[float, ...]]] = [[(1.0, 0.5, 0.0), (0.0,)], [(0.0,), (0.3, -0.2)]]
    seen = []
    for strengths in (*sets, sets[0]):
        kept.assign(strengths)
        other.assign(strengths)
        for step in range(4):
            kept.at(step)
            other.at(step)
            seen.append(run(made, x))
            assert torch.equal(seen[-1], run(eager, x))
    assert counter.frame_count == 1  # one graph for all blocks, sets and steps
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert torch.equal(seen[2], seen[3]) and not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], run(blocks(), x))  # both are off
    assert torch.equal(seen[8], seen[0]) and not torch.equal(seen[4], seen[0])
    torch._dynamo.reset()


@torch.no_grad()
def test_strengths_move_to_where_the_model_computes() -> None:
    made = blocks()
    kept = keep_apart(made, [(whole_file(), LoraUse("a", 0.5))])
    kept.strengths = torch.ones(1, device="meta")
    kept.to(torch.device("cpu"))
    held = [one.strengths for one in made.modules() if isinstance(one, beside.Beside)]
    assert len(held) == 12 and all(one is kept.strengths for one in held)
    assert kept.strengths.tolist() == [0.5]


def test_strengths_are_taken_step_by_step() -> None:
    kept = KeptApart(torch.tensor([1.0, 2.0]), [])
    kept.assign([(1.0, 0.5), (0.0,)])
    found = []
    for step in (0, 1, 2, 0):
        kept.at(step)
        found.append(kept.strengths.tolist())
    assert found == [[1.0, 0.0], [0.5, 0.0], [0.5, 0.0], [1.0, 0.0]]
    with pytest.raises(ValueError, match="2 files, not 1"):
        kept.assign([(1.0,)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_are_known_from_the_header(dtype: torch.dtype) -> None:
    made, file = blocks().to(dtype), whole_file()
    shapes = {n: tuple(p.shape) for n, p in made.state_dict().items()}
    use: Any = LoraUse("a", blocks="0-1")
    keep_apart(made, [(file, use)], dtype=dtype)
    real: dict[str, int] = {}
    for name, tensor in made.named_buffers():
        unit = ".".join(name.split(".")[:2])
        real[unit] = real.get(unit, 0) + tensor.nbytes
    assert apart_bytes(file, use, shapes, dtype.itemsize) == real
    assert real.keys() == {"blocks.0", "blocks.1"}
