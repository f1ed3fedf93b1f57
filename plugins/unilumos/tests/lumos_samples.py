"""A family of random weights that is lit like UniLumos, and files to give to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import wan_plugin_unilumos
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from wan_plugin_unilumos.family import NAME, UNILUMOS_1_3B, beside_latents

from wan_core.contract import CONTRACT_VERSION, Family, LoadRequest
from wan_core.hookspecs import hookimpl
from wan_core.media import write_video
from wan_core.models import load_transformer, random_transformer
from wan_core.models.families import TINY_RANDOM
from wan_core.plugins import Found, Plugins, installed_entry_points

WAN_CORE_CONTRACT = CONTRACT_VERSION
SIDE, FRAMES, FPS = 32, 9, 8

calls: list[Tensor] = []
"""What the transformer was called with: latents with all that is beside them."""


def watched(denoiser: Any) -> Any:
    denoiser.transformer.register_forward_pre_hook(
        lambda _, given: calls.append(given[0].clone()),
    )
    return denoiser


def random(request: LoadRequest) -> Any:
    return watched(random_transformer(request))


def stored(request: LoadRequest) -> Any:
    return watched(load_transformer(request))


PRESET = attrs.evolve(
    TINY_RANDOM.preset,
    width=SIDE,
    height=SIDE,
    frames=FRAMES,
    fps=FPS,
    steps=2,
    solver="dpm++",
    size_multiple=8,
    negative_prompt="worse",
)
RANDOM = attrs.evolve(
    TINY_RANDOM,
    name="random-lumos",
    components={
        **TINY_RANDOM.components,
        "transformer": beside_latents(
            TINY_RANDOM.components["transformer"], load=f"{__name__}:random"
        ),
    },
    preset=PRESET,
    stages=(NAME,),
)
STORED = attrs.evolve(
    RANDOM,
    name="stored-lumos",
    components={
        **RANDOM.components,
        "transformer": attrs.evolve(
            UNILUMOS_1_3B.components["transformer"],
            load=f"{__name__}:stored",
            config={"num_heads": 2, "text_len": 16, "in_dim": 48, "border": "zero"},
        ),
    },
)
PUBLISHED = attrs.evolve(
    UNILUMOS_1_3B,
    name="published-lumos",
    components={
        **TINY_RANDOM.components,
        "transformer": UNILUMOS_1_3B.components["transformer"],
    },
)
"""The published transformer, which can be planned with its header alone."""
PLAIN = attrs.evolve(TINY_RANDOM, name="plain-sixteen", preset=attrs.evolve(PRESET, fps=16))
"""Another model that makes videos, at another rate."""


@hookimpl
def wan_register() -> Sequence[Family]:
    return [RANDOM, STORED, PUBLISHED, PLAIN]


def found() -> list[Found]:
    """The core, the plugin and these families, whatever else is installed."""
    core = next(iter(installed_entry_points()))
    return [
        core,
        Found("unilumos", "wan-plugin-unilumos", "1", lambda: wan_plugin_unilumos),
        Found("samples", "samples", "1", lambda: sys.modules[__name__]),
    ]


PLUGINS = Plugins(found())


def moving(frames: int, width: int = SIDE, height: int = SIDE) -> NDArray[np.uint8]:
    """A bright square that moves over a shaded ground, ``[frames, height, width, 3]``."""
    ground = np.linspace(20, 90, width, dtype=np.uint8)[None, :, None]
    clip = np.broadcast_to(ground, (frames, height, width, 3)).copy()
    for index in range(frames):
        left = (2 * index) % (width - 8)
        clip[index, height // 3 : height // 3 + 8, left : left + 8] = (220, 180, 60)
    return clip


def subject(frames: int, width: int = SIDE, height: int = SIDE) -> NDArray[np.uint8]:
    """White where the square is."""
    square = (moving(frames, width, height)[..., :1] == 220).astype(np.uint8) * 255
    return square.repeat(3, axis=-1)


def write_files(folder: Path) -> None:
    """Videos and pictures of several sizes and lengths."""

    def video(name: str, frames: NDArray[np.uint8], fps: float = FPS) -> None:
        write_video(folder / name, [frames], fps)

    def picture(name: str, pixels: NDArray[np.uint8]) -> None:
        Image.fromarray(pixels).save(folder / name)

    video("v.mkv", moving(12))
    video("fast.mkv", moving(24), 24)
    video("mask.mkv", subject(12))
    video("short.mkv", subject(4))
    noise = np.random.default_rng(0).integers(0, 255, (12, SIDE, SIDE, 3), np.uint8)
    video("ground.mkv", noise)
    video("briefly.mkv", noise[:3])
    picture("p.png", moving(1)[0])
    picture("wide.png", moving(1, 64, 32)[0])
    picture("m.png", subject(1)[0])
    (folder / "text.txt").write_text("no video")


def workflow_text(stage: str, family: str = "random-lumos", model: str = "") -> str:
    return (
        f'format = 1\n[model]\nfamily = "{family}"\n{model}\n'
        f'[output]\npath = "out.mkv"\noverwrite = true\n[[stages]]\nuse = "{NAME}"\n{stage}\n'
    )
