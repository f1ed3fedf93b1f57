"""Low-rank factors over a frozen tiny transformer, and the LoRA file that comes of them.

Matrices stay as they are and get two factors each; what is small (biases, norms, modulation, the patch
embedding, the head) is trained itself and written as a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.training import save

PREFIX = "diffusion_model."
_FACTORS = {"down": "lora_down.weight", "up": "lora_up.weight"}
#: as files call a change of each leaf; of modulation there are two ways
_CHANGES = {"weight": ("diff",), "bias": ("diff_b",), "modulation": ("diff_m", "modulation.diff")}


class LowRankLinear(nn.Module):
    """A linear layer whose weight is fixed but for the product of two narrow matrices."""

    weight: Tensor

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        outputs, inputs = layer.weight.shape
        self.register_buffer("weight", layer.weight.detach())
        self.bias = layer.bias
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.orthogonal_(self.down)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., inputs]`` -> ``[..., outputs]``."""
        return F.linear(x, self.weight + self.up @ self.down, self.bias)


class Trained(nn.Module):
    """What of a model is trained: a module with these parameters alone, under the model's names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Name in the model and parameter."""
        for name, parameter in self.model.named_parameters(prefix, recurse, remove_duplicate):
            if parameter.requires_grad:
                yield name, parameter

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what an earlier training has kept."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(state[name])


def adopt(model: nn.Module, ranks: Mapping[str, int], whole: Sequence[str]) -> Trained:
    """Freeze a transformer but for factors of no effect, and small tensors that train as they are.

    Args:
        ranks: pattern (``fnmatch``) of linear layers that get factors -> their rank; the first fit counts.
        whole: patterns of parameters that are trained, those of factors among them.
    """
    for name, module in list(model.named_modules()):
        rank = next((n for one, n in ranks.items() if fnmatchcase(name, one)), 0)
        if rank and type(module) is nn.Linear:
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, LowRankLinear(module, rank))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, one) for one in whole))
    return Trained(model)


def is_factor(name: str, parameter: Tensor) -> bool:
    """Whether this is one of two narrow matrices."""
    return name.endswith((".down", ".up"))


def lora_of(trained: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trained parameters as the tensors of a LoRA file, under published names.

    Args:
        trained: of an adopted model, by name.
        base: the weights that it began with.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in trained.items():
        owner, _, leaf = name.rpartition(".")
        path = PREFIX + owner
        if leaf in _FACTORS:
            tensors[f"{path}.{_FACTORS[leaf]}"] = value
            if leaf == "down":
                tensors[f"{path}.alpha"] = torch.tensor(float(len(value)))
        else:
            change = value.detach().cpu().float() - base[name].float()
            tensors[f"{path}.{_CHANGES[leaf][0]}"] = change
    return tensors


def write(
    trained: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    path: Path,
    about: Mapping[str, str],
) -> int:
    """Save the LoRA file in float16; returns its bytes."""
    save(path, lora_of(trained, base), {"format": "pt", **about})
    return path.stat().st_size


def merged(base: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that a LoRA file makes of others, in float32."""
    state = {name: tensor.float() for name, tensor in base.items()}
    for target, change in _changes(lora):
        state[target] = state[target] + change
    return state


def _changes(lora: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    ends = {f".{end}": leaf for leaf, ways in _CHANGES.items() for end in ways}
    for name, tensor in lora.items():
        if name.endswith(down := f".{_FACTORS['down']}"):
            path = name.removesuffix(down)
            scale = float(lora[f"{path}.alpha"]) / len(tensor)
            product = lora[f"{path}.{_FACTORS['up']}"].float() @ tensor.float()
            yield f"{path.removeprefix(PREFIX)}.weight", scale * product
        # "modulation.diff" ends like "diff", too: the longest is meant
        elif end := max((one for one in ends if name.endswith(one)), key=len, default=""):
            path = name.removesuffix(end)
            yield f"{path.removeprefix(PREFIX)}.{ends[end]}", tensor.float()
