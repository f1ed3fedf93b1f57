"""Low-rank factors over a frozen tiny transformer, and the LoRA file that comes of them.

Matrices of the blocks stay as they are and get two factors each; what is small (biases, norms, modulation, the
patch embedding, the head) is trained itself and written as a difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.training import save

PREFIX = "diffusion_model."
#: module of a block -> rank
RANKS = {"self_attn": 64, "ffn": 56, "cross_attn": 16}
#: trained as they are, beside everything in the blocks that is no matrix
WHOLE = ("patch_embedding.", "head.")
_FACTORS = {"down": "lora_down.weight", "up": "lora_up.weight"}
_DIFFERENCES = {"weight": "diff", "bias": "diff_b", "modulation": "modulation.diff"}


class LoraLinear(nn.Module):
    """A linear layer whose weight is fixed but for the product of two small factors."""

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
        return F.linear(x, torch.addmm(self.weight, self.up, self.down), self.bias)


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


def adopt(model: nn.Module, ranks: Mapping[str, int] = RANKS) -> Trained:
    """Freeze a transformer and give the matrices of its blocks factors; these and small tensors train.

    Returns:
        what is trained.
    """
    for name, module in list(model.named_modules()):
        if type(module) is nn.Linear and name.startswith("blocks."):
            owner, _, leaf = name.rpartition(".")
            rank = ranks[name.split(".")[2]]
            setattr(model.get_submodule(owner), leaf, LoraLinear(module, rank))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("blocks.", *WHOLE)))
    return Trained(model)


def lora_of(trained: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Trained parameters as the tensors of a LoRA file, under published names.

    Args:
        trained: of an adopted model, by name.
        base: the frozen transformer's file.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in trained.items():
        owner, _, leaf = name.rpartition(".")
        path = PREFIX + owner
        if leaf in _FACTORS:
            tensors[f"{path}.{_FACTORS[leaf]}"] = value
            if leaf == "down":
                tensors[f"{path}.alpha"] = torch.tensor(float(len(value)))
            continue
        change = value.detach().cpu().float() - base[name].float()
        tensors[f"{path}.{_DIFFERENCES[leaf]}"] = change
    return tensors


def write(
    trained: Mapping[str, Tensor], base: Mapping[str, Tensor], path: Path, words: tuple[str, ...]
) -> int:
    """Save the LoRA file in float16; returns its bytes."""
    about = {
        "format": "pt",
        "modelspec.title": "toy LoRA: objects follow tracks",
        "words": json.dumps(list(words)),
    }
    save(path, lora_of(trained, base), about)
    return path.stat().st_size


def read_into(trained: Trained, path: Path, base: Mapping[str, Tensor]) -> None:
    """Set the trained parameters to what a file of ``write`` says."""
    from safetensors.torch import load_file

    stored = load_file(path)
    with torch.no_grad():
        for name, parameter in trained.named_parameters():
            owner, _, leaf = name.rpartition(".")
            start = PREFIX + owner
            if leaf in _FACTORS:
                value = stored[f"{start}.{_FACTORS[leaf]}"].float()
            else:
                value = base[name].float() + stored[f"{start}.{_DIFFERENCES[leaf]}"].float()
            parameter.copy_(value)
