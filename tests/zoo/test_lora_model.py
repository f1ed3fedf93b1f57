"""Factors over a frozen model: which, and that a file of any spelling makes the trained weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from zoo.lora_model import LowRankLinear, adopt, is_factor, lora_of, merged

RANKS = {"blocks.*.attn": 2, "blocks.*": 3}
WHOLE = ("blocks.*", "head.*")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.ffn = nn.Linear(4, 4), nn.Linear(4, 6)
        self.modulation = nn.Parameter(torch.randn(1, 2, 4))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head, self.time = nn.Linear(4, 4), nn.Linear(4, 4)


@pytest.fixture
def base() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: tensor.clone() for name, tensor in Model().state_dict().items()}


def adopted(base: dict[str, Tensor]) -> dict[str, Tensor]:
    model = Model()
    model.load_state_dict(base)
    trained = adopt(model, RANKS, WHOLE)
    assert isinstance(model.blocks[0].attn, LowRankLinear)
    assert type(model.head) is type(model.time) is nn.Linear
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return {name: parameter.detach() for name, parameter in trained.named_parameters()}


def test_what_is_trained(base: dict[str, Tensor]) -> None:
    trained = adopted(base)
    assert not any(name.startswith("time.") for name in trained)
    factors = {name: len(t) for name, t in trained.items() if is_factor(name, t)}
    ranks = {name: n for name, n in factors.items() if name.endswith(".down")}
    assert set(ranks.values()) == {2, 3} and len(factors) == 2 * len(ranks) == 8
    assert all(n == (2 if "attn" in name else 3) for name, n in ranks.items())
    others = {"head.weight", "head.bias"} | {
        f"blocks.{n}.{leaf}" for n in range(2) for leaf in ("attn.bias", "ffn.bias", "modulation")
    }
    assert trained.keys() - factors.keys() == others


@pytest.mark.parametrize("spelled", ["diff_m", "modulation.diff"])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_a_file_makes_the_trained_weights(
    base: dict[str, Tensor], spelled: str, alpha: float
) -> None:
    trained = adopted(base)
    file = {
        name.replace("diff_m", spelled): alpha * tensor if name.endswith(".alpha") else tensor
        for name, tensor in lora_of(trained, base).items()
    }
    assert len(file) == 12 + 2 + 6
    made = merged(base, file)
    assert made.keys() == base.keys()
    for name, weight in made.items():
        owner = name.removesuffix(".weight")
        if name in trained:
            wanted = trained[name]
        elif f"{owner}.down" in trained:
            wanted = base[name] + alpha * trained[f"{owner}.up"] @ trained[f"{owner}.down"]
        else:
            wanted = base[name]
        torch.testing.assert_close(weight, wanted)
