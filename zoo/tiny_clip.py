"""The tiny CLIP vision tower: the product's own network, trained together with what reads its tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.models.encoders import ClipConfig, prepare
from wan_core.models.encoders.clip import build_clip
from wan_core.models.encoders.clip_files import CLIP_OPENCLIP
from zoo.training import save

#: two layers are run; the third one, as in the published tower, is never looked at and not even stored
CONFIG = ClipConfig(image_size=32, patch_size=8, width=48, mlp_width=96, heads=3, layers=3)
FILE = "image_encoder.safetensors"
_PARTS = ("q_proj", "k_proj", "v_proj")


def build(device: torch.device) -> nn.Module:
    """The tower with fresh weights, for training."""
    tower: nn.Module = build_clip(CONFIG).to_empty(device=device)
    positions: Any = tower.embeddings
    positions.position_ids = torch.arange(CONFIG.tokens, device=device)[None]
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(True)
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif "norm" in name or "layrnorm" in name:
            nn.init.ones_(parameter)
        elif name.startswith("embeddings"):
            nn.init.normal_(parameter, std=CONFIG.width**-0.5)
        else:
            nn.init.xavier_uniform_(parameter)
    return tower


def pixels_of(pictures: Tensor) -> Tensor:
    """Pictures ``[batch, 3, height, width]`` in -1..1 as the tower sees them, on their own device."""
    return prepare(pictures, CONFIG.image_size).to(pictures.device)


def tokens_of(tower: Any, pixels: Tensor) -> Tensor:
    """Image tokens ``[batch, tokens, width]`` of prepared pictures, with gradients."""
    x: Tensor = tower.pre_layrnorm(tower.embeddings(pixels))
    for layer in tower.encoder.layers:
        x = layer(x, None)
    return x


def published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tower's parameters under the names that OpenCLIP publishes: q, k and v in one tensor."""
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        part = next((part for part in _PARTS if f".{part}." in name), None)
        if part in _PARTS[1:]:
            continue
        if part:
            tensor = torch.cat([state[name.replace(part, other)] for other in _PARTS])
            name = name.replace(part, "qkv")
        found = CLIP_OPENCLIP.from_official(f"vision_model.{name}")
        assert found is not None, f"no published name for {name}"
        named[found] = tensor
    return named


def write(state: Mapping[str, Tensor], out: Path) -> int:
    """Save the tower as published files are; returns the file's bytes."""
    config = {"num_heads": CONFIG.heads, "num_layers": CONFIG.layers}
    about = {"format": "pt", "architecture": "clip-vision", "config": json.dumps(config)}
    save(out / FILE, published(state), about)
    return (out / FILE).stat().st_size


def load(path: Path, device: torch.device) -> nn.Module:
    """A trained tower in float32, as the product loads it."""
    from wan_core.models.encoders import load_clip
    from wan_core.weights import open_weights

    tower: nn.Module = load_clip(open_weights(path), device=device, dtype=torch.float32).model
    return tower
