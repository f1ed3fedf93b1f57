"""The tiny relighting transformer: the text-to-video one with two videos beside the noise, changed by a LoRA.

It begins as the trained text-to-video transformer; what is new does nothing yet. The matrices of its blocks
stay as they are and get a product of two narrow ones beside them; small tensors, and those that face the input
and the output, change freely. All of that goes into one LoRA file in the published names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from wan_core.models.wan import WanConfig
from zoo import train_video
from zoo.training import save

FILE = "unilumos.safetensors"
CHANNELS = 16
#: noise, foreground, background
CONFIG = attrs.evolve(train_video.CONFIG, in_dim=3 * CHANNELS)
#: of all low-rank changes; the file stays below 3 MB
RANK = 40
PREFIX = "diffusion_model."
PATCHES = "patch_embedding.weight"
#: what does not change at all
_FROZEN = ("time_embedding.", "time_projection.")


class LowRankLinear(nn.Linear):
    """A linear layer whose weight is a fixed one and a product of two narrow matrices.

    A layer becomes one by ``adopt``, because the product's transformer makes its own layers.
    """

    down: nn.Parameter
    up: nn.Parameter

    @staticmethod
    def adopt(layer: nn.Linear, rank: int) -> None:
        """Turn a layer into one; it computes what it did, and only its bias and the factors are trained."""
        weight = layer.weight.detach().clone()
        rows, columns = weight.shape
        del layer.weight
        layer.register_buffer("weight", weight)
        layer.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        layer.up = nn.Parameter(torch.zeros(rows, rank))
        layer.__class__ = LowRankLinear

    def merged(self) -> Tensor:
        """The weight as it counts."""
        return self.weight + self.up @ self.down

    def forward(self, input: Tensor) -> Tensor:
        """``[…, inputs]`` -> ``[…, outputs]``."""
        return F.linear(input, self.merged(), self.bias)


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text-to-video model's weights in float32; its patches read the new channels with zeros."""
    wide = {name: tensor.float() for name, tensor in state.items()}
    narrow = wide[PATCHES]
    wide[PATCHES] = F.pad(narrow, (0, 0) * 3 + (0, CONFIG.in_dim - narrow.shape[1]))
    return wide


def begin(path: Path, rank: int = RANK, config: WanConfig = CONFIG) -> train_video.Trainee:
    """The start of training: the text-to-video model in ``path`` with new channels and factors of no effect."""
    model = train_video.Trainee(config)
    model.load_state_dict(widened(load_file(path)))
    for name, module in list(model.named_modules()):
        if name.startswith(("blocks.", "text_embedding.")) and type(module) is nn.Linear:
            LowRankLinear.adopt(module, rank)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(_FROZEN))
    return model


def is_factor(name: str, parameter: nn.Parameter) -> bool:
    """Whether this is one of two narrow matrices."""
    return name.endswith((".down", ".up"))


def trained(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a trainee's parameters those that change."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(_FROZEN)}


def lora_of(state: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The LoRA file that makes a trainee of the text-to-video model.

    Args:
        state: the trainee's parameters (or their average).
        start: the widened weights of the text-to-video model (``widened``).
    """
    file: dict[str, Tensor] = {}
    for name, tensor in trained(state).items():
        module, _, leaf = name.rpartition(".")
        path = f"{PREFIX}{module}"
        if leaf in ("down", "up"):
            file[f"{path}.lora_{leaf}.weight"] = tensor
            file[f"{path}.alpha"] = torch.tensor(float(min(tensor.shape[0], tensor.shape[1])))
            continue
        change = tensor - start[name].to(tensor.device)
        end = {"weight": "diff", "bias": "diff_b", "modulation": "diff_m"}[leaf]
        file[f"{path}.{end}"] = change
    return file


def write(state: Mapping[str, Tensor], base: Path, out: Path) -> int:
    """Save the LoRA of a trainee over the text-to-video model in ``base``; returns the file's bytes."""
    rank = next(len(tensor) for name, tensor in state.items() if name.endswith(".down"))
    about = {"format": "pt", "ss_network_dim": str(rank), "ss_network_alpha": str(rank)}
    save(out / FILE, lora_of(state, widened(load_file(base))), about)
    return (out / FILE).stat().st_size


def merged(base: Mapping[str, Tensor], lora: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the relighting transformer, from those of the text-to-video one and a LoRA file."""
    state = widened(base)
    for target, change in _changes(lora):
        state[target] = state[target] + change
    return state


def _changes(lora: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in lora.items():
        module, _, leaf = name.removeprefix(PREFIX).rpartition(".")
        if module.endswith(".lora_down"):
            path = module.removesuffix(".lora_down")
            up = lora[f"{PREFIX}{path}.lora_up.weight"].float()
            scale = float(lora[f"{PREFIX}{path}.alpha"]) / len(tensor)
            yield f"{path}.weight", scale * (up @ tensor.float())
        elif leaf in ("diff", "diff_b", "diff_m"):
            end = {"diff": "weight", "diff_b": "bias", "diff_m": "modulation"}[leaf]
            yield f"{module}.{end}", tensor.float()


def load(base: Path, lora: Path, device: torch.device) -> train_video.Trainee:
    """The trained transformer in float32, with the LoRA merged into its weights."""
    model = train_video.Trainee(CONFIG)
    model.load_state_dict(merged(load_file(base), load_file(lora)))
    return model.to(device).eval()
