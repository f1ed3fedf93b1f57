"""The published families in tiny form: their own descriptions, with random weights in the smallest shapes.

A plugin of the tests. What its transformers are called with is in :data:`calls`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Component, Family
from wan_core.contract.requests import LoadRequest
from wan_core.hookspecs import hookimpl
from wan_core.models.encoders import ClipConfig, ClipVision, ImageEncoder
from wan_core.models.encoders.clip import build_clip
from wan_core.models.families import (
    TINY_RANDOM,
    WAN21_FLF2V_14B,
    WAN21_I2V_14B_480P,
    WAN21_T2V_1_3B,
    WAN22_I2V_A14B,
    WAN22_TI2V_5B,
)
from wan_core.models.loaders import RANDOM_VAE
from wan_core.models.vae import VaeConfig, VaeDescriptor, WanVAE
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.plugins import Found, Plugins, installed_entry_points

WAN_CORE_CONTRACT = CONTRACT_VERSION
CLIP = ClipConfig(image_size=16, patch_size=8, width=16, mlp_width=32, heads=2, layers=2)
SMALL = {"dim": 24, "ffn_dim": 32, "num_heads": 2, "num_layers": 2, "freq_dim": 16}
TEXT = {"text_dim": 16, "text_len": 16}
VAE_2_2 = VaeDescriptor(
    "random 2.2",
    VaeConfig(dim=4, z_dim=48, patch=2, shortcuts=True, num_res_blocks=1),
    (0.0,) * 48,
    (1.0,) * 48,
)


@attrs.frozen(eq=False)
class Call:
    """One call of a transformer."""

    slot: str
    latents: Tensor
    timesteps: Tensor
    image_tokens: Tensor | None


calls: list[Call] = []


def fill(module: nn.Module, seed: int) -> Any:
    """Random weights that leave numbers at their size."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                scale = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            else:
                parameter.fill_(float("norm" in name and name.endswith("weight")))
    return module.requires_grad_(False).eval()


def load_transformer(request: LoadRequest) -> WanDenoiser:
    wanted = request.component.config
    config = WanConfig(
        **SMALL,
        **TEXT,
        in_dim=wanted["in_dim"],
        out_dim=wanted["out_dim"],
        image_dim=CLIP.width if wanted.get("sees_images") else None,
        image_positions=2 * CLIP.tokens if wanted.get("variant") == "flf2v" else None,
    )
    transformer = fill(WanTransformer(config), len(request.slot))

    def note(_: Any, given: Any, named: Any) -> None:
        latents, timesteps, *_rest = given
        calls.append(Call(request.slot, latents, timesteps, named["image_tokens"]))

    transformer.register_forward_pre_hook(note, with_kwargs=True)
    return WanDenoiser(transformer)


def load_vae(request: LoadRequest) -> WanVAE:
    newer = request.component.config["z_dim"] == 48
    return fill(WanVAE.of(VAE_2_2 if newer else RANDOM_VAE), 7)


def load_image_encoder(request: LoadRequest) -> ImageEncoder:
    tower = fill(build_clip(CLIP).to_empty(device="cpu"), 8)
    tower.embeddings.position_ids = torch.arange(CLIP.tokens)[None]
    return ImageEncoder(ClipVision(tower, CLIP))


def tiny(family: Family) -> Family:
    """A family with random components and a preset of next to no work."""

    def part(slot: str, component: Component) -> Component:
        if component.optional:
            return component
        load = {"vae": "load_vae", "image_encoder": "load_image_encoder"}
        if slot == "text_encoder":
            return TINY_RANDOM.components[slot]
        name = load.get(slot, "load_transformer")
        return attrs.evolve(
            component, load=f"{__name__}:{name}", verify=None, published=(), needs_file=False
        )

    multiple = family.preset.size_multiple
    return attrs.evolve(
        family,
        name=f"tiny-{family.name}",
        components={slot: part(slot, one) for slot, one in family.components.items()},
        preset=attrs.evolve(
            family.preset,
            width=2 * multiple,
            height=2 * multiple,
            frames=9,
            steps=3,
            solver="euler",
            sizes=(),
            size_multiple=multiple,
        ),
    )


@hookimpl
def wan_register() -> Sequence[Family]:
    return [
        tiny(family)
        for family in (
            WAN21_T2V_1_3B,
            WAN21_I2V_14B_480P,
            WAN21_FLF2V_14B,
            WAN22_I2V_A14B,
            WAN22_TI2V_5B,
        )
    ]


def discovered() -> Plugins:
    """The core, and these families."""
    core = next(iter(installed_entry_points()))
    return Plugins([core, Found("given", "given", "1", lambda: sys.modules[__name__])])


def workflow_text(family: str, output: Path, **stage: Any) -> str:
    lines = "\n".join(f"{key} = {_toml(value)}" for key, value in stage.items())
    return (
        f'format = 1\nmodel = {{ family = "tiny-{family}" }}\n'
        f'output = {{ path = "{output}", overwrite = true }}\n'
        f'[[stages]]\nuse = "generate"\nprompt = "a red circle"\n{lines}\n'
    )


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
