"""Loading into modules: strict, in place, without holding anything twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wan_core.contract.errors import WeightsError
from wan_core.weights import (
    Dialect,
    QuantLinear,
    StateDict,
    in_official_names,
    load_into,
    open_weights,
    renaming,
)

_to, _from = renaming([("first.{*}", "conv.{*}"), ("table", "buf"), ("embed.weight", "emb.weight")])
OFFICIAL = Dialect(
    "official", "toy", lambda names: "first.weight" in names, lambda name: name, lambda name: name
)
OTHER = Dialect(
    "other", "toy", lambda names: "conv.weight" in names, _to, _from, ignores=("junk*",)
)
DIALECTS = (OFFICIAL, OTHER)


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 2)
        self.embed = nn.Embedding(4, 3)
        self.again = nn.Embedding(4, 3)
        self.again.weight = self.embed.weight
        self.register_buffer("table", torch.zeros(2, dtype=torch.int64))
        self.table: Tensor


def toy() -> Toy:
    with torch.device("meta"):
        return Toy()


def tensors() -> dict[str, Tensor]:
    return {
        "first.weight": torch.arange(6.0).reshape(2, 3),
        "first.bias": torch.ones(2),
        "embed.weight": torch.arange(12.0).reshape(4, 3),
        "table": torch.tensor([5, 6]),
    }


def test_official_names() -> None:
    module = toy()
    load_into(module, StateDict(tensors()))
    assert torch.equal(module.first(torch.ones(1, 3)), torch.tensor([[4.0, 13.0]]))
    assert module.again.weight is module.embed.weight
    assert module.table.tolist() == [5, 6]
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_dialect_with_prefix_and_leftovers() -> None:
    held = {f"model.{_from(name) or name}": t for name, t in tensors().items()}
    held["model.junk.x"] = torch.zeros(1)
    module = toy()
    load_into(module, StateDict(held), DIALECTS)
    assert torch.equal(module.embed.weight, tensors()["embed.weight"])


def test_a_module_with_names_of_its_own() -> None:
    class Renamed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Linear(3, 2)

    with torch.device("meta"):
        module = Renamed()
    held = {name: tensor for name, tensor in tensors().items() if name.startswith("first")}
    load_into(module, StateDict(held), DIALECTS, module_dialect=OTHER)
    assert torch.equal(module.conv.bias, torch.ones(2))


def test_precision() -> None:
    module = toy()
    load_into(
        module, StateDict(tensors()), dtype=torch.bfloat16, keep_float32=("first.bias", "*.nothing")
    )
    assert module.first.weight.dtype is torch.bfloat16
    assert module.first.bias.dtype is torch.float32
    assert module.table.dtype is torch.int64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"first.bias": None}, "1 missing ('first.bias')"),
        ({"more": torch.zeros(1)}, "1 unexpected ('more')"),
        (
            {"first.bias": torch.zeros(3)},
            "1 of the wrong shape or kind ('first.bias F32 [3] instead of [2]')",
        ),
        (
            {"first.bias": torch.zeros(2, dtype=torch.uint8)},
            "1 of the wrong shape or kind ('first.bias U8 [2] instead of [2]')",
        ),
        (
            {f"x{i}": torch.zeros(1) for i in range(5)} | {"first.bias": None},
            "1 missing ('first.bias'); 5 unexpected ('x0', 'x1', 'x2', …)",
        ),
    ],
)
def test_what_does_not_fit_is_listed(change: dict[str, Any], says: str) -> None:
    held = {name: t for name, t in (tensors() | change).items() if t is not None}
    module = toy()
    with pytest.raises(WeightsError) as caught:
        load_into(module, StateDict(held, label="toy.safetensors"))
    assert says in str(caught.value)
    assert str(caught.value).startswith("toy.safetensors: ")
    assert all(parameter.is_meta for parameter in module.parameters())  # nothing was touched


def test_names_that_a_dialect_does_not_know_are_unexpected() -> None:
    held = {_from(name) or name: tensor for name, tensor in tensors().items()}
    held["conversation"] = torch.zeros(1)
    with pytest.raises(WeightsError, match="1 unexpected \\('conversation'\\)"):
        load_into(toy(), StateDict(held), DIALECTS)


def test_ignored_tensors() -> None:
    load_into(toy(), StateDict(tensors() | {"more": torch.zeros(1)}), ignore=("more",))


def test_another_component_is_named(manifest: Callable[[str], StateDict]) -> None:
    with pytest.raises(WeightsError) as caught:
        load_into(toy(), manifest("clip-vit-h-14-visual"), DIALECTS)
    assert str(caught.value) == (
        "clip-vit-h-14-visual: this is a CLIP vision tower (dim 1280, layers 32), not toy."
    )


@pytest.mark.parametrize("companion", ["first.scale_weight", "first.weight_scale"])
def test_scaled_weights_stay_as_they_are_stored(companion: str) -> None:
    held = tensors() | {companion: torch.tensor(0.5), "scaled_fp8": torch.zeros(2)}
    held["first.weight"] = held["first.weight"].to(torch.float8_e4m3fn)
    module = toy()
    load_into(module, StateDict(held), DIALECTS, dtype=torch.bfloat16)
    assert isinstance(module.first, QuantLinear)
    assert module.first.payload.dtype is torch.uint8
    assert torch.equal(module.first.dequantised(), tensors()["first.weight"] / 2)
    rows = module.first(torch.ones(1, 3, dtype=torch.bfloat16))
    assert rows.dtype is torch.bfloat16
    assert rows.tolist() == [[2.5, 7.0]]


@pytest.mark.parametrize(
    ("changed", "keep"),
    [("first.weight", ("first.*",)), ("embed.weight", ()), ("first.bias", ())],
)
def test_other_quantised_tensors_become_numbers(changed: str, keep: tuple[str, ...]) -> None:
    held = tensors()
    held[changed] = held[changed].to(torch.float8_e5m2)
    module = toy()
    load_into(module, StateDict(held), dtype=torch.bfloat16, keep_float32=keep)
    found = module.state_dict()[changed]
    assert type(module.first) is nn.Linear
    assert found.dtype is (torch.float32 if keep else torch.bfloat16)
    assert torch.equal(found.float(), held[changed].float())
    assert module.again.weight is module.embed.weight


def test_a_scale_without_a_quantised_weight_is_refused() -> None:
    held = tensors() | {"first.weight_scale": torch.ones(())}
    with pytest.raises(WeightsError, match=r"'first\.weight_scale' is the scale of no quantised"):
        load_into(toy(), StateDict(held))
    held = {_from(name) or name: tensor for name, tensor in tensors().items()}
    held["junction.weight_scale_inv"] = torch.ones(())
    with pytest.raises(
        WeightsError, match=r"not read: with 'junction\.weight_scale_inv'; use a bf16"
    ):
        load_into(toy(), StateDict(held), DIALECTS)


def test_a_tensor_under_two_names_is_taken_under_the_one_that_counts() -> None:
    to, back = renaming([("a", "x"), ("a", "y")])
    dialect = Dialect("two", "toy", lambda names: True, to, back)
    for names in (("x", "y"), ("y", "x")):
        held = {name: torch.full((1,), float(name == "x")) for name in names}
        assert in_official_names(StateDict(held), [dialect]).get("a").item() == 1.0
    assert in_official_names(StateDict({"y": torch.zeros(1)}), [dialect]).names() == ("a",)


def _anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_stay_in_the_memory_mapped_file(tmp_path: Path, suffix: str) -> None:
    size = 64 * 2**20
    path = tmp_path / f"x.{suffix}"
    held = {f"{i}.weight": torch.ones(size // 16, 1) for i in range(4)}
    save_file(held, path) if suffix == "safetensors" else torch.save(held, path)
    del held
    with torch.device("meta"):
        module = nn.Sequential(*(nn.Linear(1, size // 16, bias=False) for _ in range(4)))
    before = _anonymous_bytes()
    load_into(module, open_weights(path))
    assert sum(float(parameter.sum()) for parameter in module.parameters()) == size / 4
    assert _anonymous_bytes() - before < size / 4
    # changing a weight in place must not reach the file
    module[0].weight.fill_(7)
    assert open_weights(path).get("0.weight")[0].item() == 1.0
