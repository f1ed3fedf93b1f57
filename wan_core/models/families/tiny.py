"""The bundled tiny families: a toy world for demos and tests (``zoo/README.md``), and random weights."""

from __future__ import annotations

from wan_core.contract.descriptions import Component, Family, Preset
from wan_core.models.families.parts import (
    LOADERS,
    VERIFY_TEXT_ENCODER,
    VERIFY_TRANSFORMER,
    VERIFY_VAE,
)

TINY_TEXT_LENGTH = 64

TINY_T2V = Family(
    name="tiny-t2v",
    title="bundled toy model: one coloured shape that moves, for demos and tests",
    task="text-to-video",
    components={
        "transformer": Component(
            kind="wan-transformer",
            load=f"{LOADERS}:load_transformer",
            verify=VERIFY_TRANSFORMER,
            config={"num_heads": 4, "text_len": TINY_TEXT_LENGTH},
            bundled="tiny/t2v.safetensors",
        ),
        "text_encoder": Component(
            kind="umt5-encoder",
            load=f"{LOADERS}:load_text_encoder",
            verify=VERIFY_TEXT_ENCODER,
            config={"text_len": TINY_TEXT_LENGTH},
            bundled="tiny/text_encoder.safetensors",
        ),
        "vae": Component(
            kind="wan-vae",
            load=f"{LOADERS}:load_vae",
            verify=VERIFY_VAE,
            bundled="tiny/vae.safetensors",
        ),
    },
    preset=Preset(
        width=96, height=96, frames=33, fps=12, steps=24, shift=3.0, guidance=4.0, sizes=((96, 96),)
    ),
    warn="wan_core.models.tiny.vocabulary:warn",
)

TINY_RANDOM = Family(
    name="tiny-random",
    title="random weights in the smallest shapes: no pictures, only plumbing",
    task="text-to-video",
    components={
        slot: Component(kind=kind, load=f"{LOADERS}:random_{slot}", needs_file=False)
        for slot, kind in (
            ("transformer", "wan-transformer"),
            ("text_encoder", "umt5-encoder"),
            ("vae", "wan-vae"),
        )
    },
    preset=Preset(width=32, height=32, frames=5, fps=8, steps=2, shift=3.0, guidance=2.0),
)
