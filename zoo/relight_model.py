"""The tiny relighting transformer: the text-to-video one with two videos beside the noise, changed by a LoRA.

It begins as the trained text-to-video transformer; what is new does nothing yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from zoo import lora_model, train_video
from zoo.lora_model import Trained

FILE = "unilumos.safetensors"
CHANNELS = 16
#: noise, foreground, background
CONFIG = attrs.evolve(train_video.CONFIG, in_dim=3 * CHANNELS)
#: of all low-rank changes; the file stays below 3 MB
RANK = 40
PATCHES = "patch_embedding.weight"
#: what has factors, and what else is trained: all but the embedding of time
_LOW_RANK = ("blocks.*", "text_embedding.*")
_WHOLE = (*_LOW_RANK, "patch_embedding.*", "head.*")


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text-to-video model's weights in float32; its patches read the new channels with zeros."""
    wide = {name: tensor.float() for name, tensor in state.items()}
    narrow = wide[PATCHES]
    wide[PATCHES] = F.pad(narrow, (0, 0) * 3 + (0, CONFIG.in_dim - narrow.shape[1]))
    return wide


def begin(path: Path, rank: int = RANK) -> tuple[train_video.Trainee, Trained]:
    """The start of training, over the text-to-video model in ``path``: a model, and what of it is trained."""
    model = train_video.Trainee(CONFIG)
    model.load_state_dict(widened(load_file(path)))
    return model, lora_model.adopt(model, dict.fromkeys(_LOW_RANK, rank), _WHOLE)


def write(trained: Mapping[str, Tensor], base: Path, out: Path) -> int:
    """Save the LoRA over the text-to-video model in ``base``; returns the file's bytes."""
    rank = str(next(len(tensor) for name, tensor in trained.items() if name.endswith(".down")))
    about = {"ss_network_dim": rank, "ss_network_alpha": rank}
    return lora_model.write(trained, widened(load_file(base)), out / FILE, about)


def load(base: Path, lora: Path, device: torch.device) -> train_video.Trainee:
    """The trained transformer in float32, with the LoRA merged into its weights."""
    model = train_video.Trainee(CONFIG)
    model.load_state_dict(lora_model.merged(widened(load_file(base)), load_file(lora)))
    return model.to(device).eval()
