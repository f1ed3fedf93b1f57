"""A family with a small VACE transformer of random weights, and files to give to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Component, Family, Preset
from wan_core.contract.requests import LoadRequest
from wan_core.hookspecs import hookimpl
from wan_core.media import write_video
from wan_core.models.families import TINY_RANDOM, TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.plugins import Found, Plugins, installed_entry_points

WAN_CORE_CONTRACT = CONTRACT_VERSION
CONFIG = WanConfig(
    dim=48,
    ffn_dim=64,
    num_heads=2,
    num_layers=3,
    freq_dim=32,
    text_dim=16,
    text_len=16,
    vace_layers=(0, 2),
    vace_in_dim=96,
)
FRAMES, SIDE = 9, 32
calls: list[dict[str, Any]] = []
"""Each call of the transformer: what it was given, and ``"out"``."""


def load(request: LoadRequest) -> Any:
    denoiser = load_transformer(request)

    def note(module: Any, given: Any, more: dict[str, Any], out: Tensor) -> None:
        calls.append(
            {"latents": given[0], "timesteps": given[1], "text": given[2], "out": out, **more}
        )

    denoiser.transformer.register_forward_hook(note, with_kwargs=True)
    return denoiser


FAMILY = Family(
    name="small-vace",
    title="",
    task="video-to-video",
    components={
        "transformer": Component(
            kind="wan-transformer",
            load=f"{__name__}:load",
            config={"num_heads": 2, "text_len": 16},
        ),
        "text_encoder": TINY_RANDOM.components["text_encoder"],
        "vae": TINY_T2V.components["vae"],
    },
    preset=Preset(width=SIDE, height=SIDE, frames=FRAMES, fps=8, steps=2, shift=3.0, guidance=1.0),
    features=("vace",),
)


@hookimpl
def wan_register() -> Sequence[Family]:
    return [FAMILY]


PLUGINS = Plugins(
    [
        next(iter(installed_entry_points())),
        Found("small", "small", "1", lambda: sys.modules[__name__]),
    ]
)


def write_files(folder: Path) -> None:
    """Weights, a video of 12 frames, two masks (a picture and a video) and two pictures."""
    transformer = WanTransformer(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in transformer.parameters():
            fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan_in**-0.5)
    save_file(transformer.state_dict(), folder / "vace.safetensors")
    numbers = np.random.default_rng(0)
    soft = numbers.integers(0, 255, (12, 4, 4, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    write_video(folder / "video.mkv", [soft], 8)
    half = np.zeros((SIDE, SIDE, 3), np.uint8)
    half[:, SIDE // 2 :] = 255
    Image.fromarray(half).save(folder / "half.png")
    levels = np.arange(12, dtype=np.uint8)[:, None, None, None] * 20 + half // 8
    write_video(folder / "mask.mkv", [levels], 8)
    write_video(folder / "short.mkv", [levels[:4]], 8)
    write_video(folder / "long.mkv", [np.zeros((33, SIDE, SIDE, 3), np.uint8)], 8)
    for name, size in (("wide.png", (40, 20)), ("tall.png", (10, 30))):
        Image.fromarray(numbers.integers(0, 255, (*size[::-1], 3), np.uint8)).save(folder / name)
