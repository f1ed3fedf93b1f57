"""The bundled tiny families: a toy world for demos and tests (``zoo/README.md``), and random weights."""

from __future__ import annotations

from wan_core.contract.descriptions import Component, Family, Pictures, Preset
from wan_core.models.families.parts import (
    FLOAT32,
    IMAGE_ENCODER_UNITS,
    LOADERS,
    LORA_TARGETS,
    QUANTISED_LAYERS,
    TEXT_ENCODER_UNITS,
    TRANSFORMER_UNITS,
    UMT5_TABLES,
    VERIFY_IMAGE_ENCODER,
    VERIFY_TEXT_ENCODER,
    VERIFY_TRANSFORMER,
    VERIFY_VAE,
)

TINY_TEXT_LENGTH = 64

WARN = "wan_core.models.tiny.vocabulary:warn"


def _parts(transformer: str, **config: int) -> dict[str, Component]:
    """The components of a family of the toy world."""
    return {
        "transformer": Component(
            kind="wan-transformer",
            load=f"{LOADERS}:load_transformer",
            verify=VERIFY_TRANSFORMER,
            lora_targets=LORA_TARGETS,
            keeps_apart=True,
            config={"num_heads": 4, "text_len": TINY_TEXT_LENGTH, **config},
            bundled=f"tiny/{transformer}.safetensors",
            unpacks=FLOAT32,
            quantises=QUANTISED_LAYERS,
            units=TRANSFORMER_UNITS,
        ),
        "text_encoder": Component(
            kind="umt5-encoder",
            load=f"{LOADERS}:load_text_encoder",
            verify=VERIFY_TEXT_ENCODER,
            config={"text_len": TINY_TEXT_LENGTH},
            bundled="tiny/text_encoder.safetensors",
            unpacks=UMT5_TABLES,
            units=TEXT_ENCODER_UNITS,
        ),
        "vae": Component(
            kind="wan-vae",
            load=f"{LOADERS}:load_vae",
            verify=VERIFY_VAE,
            bundled="tiny/vae.safetensors",
        ),
    }


TINY_T2V = Family(
    name="tiny-t2v",
    title="bundled toy model: one coloured shape that moves, for demos and tests",
    task="text-to-video",
    components=_parts("t2v", in_dim=16),
    preset=Preset(
        width=96, height=96, frames=33, fps=12, steps=24, shift=3.0, guidance=4.0, sizes=((96, 96),)
    ),
    warn=WARN,
)

TINY_I2V = Family(
    name="tiny-i2v",
    title="bundled toy model: a picture of the toy world that begins to move, for demos and tests",
    task="image-to-video",
    components={
        **_parts("i2v", in_dim=36, sees_images=True),
        "image_encoder": Component(
            kind="clip-vision",
            load=f"{LOADERS}:load_image_encoder",
            verify=VERIFY_IMAGE_ENCODER,
            config={"dim": 48},
            bundled="tiny/image_encoder.safetensors",
            units=IMAGE_ENCODER_UNITS,
        ),
    },
    preset=Preset(
        width=96, height=96, frames=33, fps=12, steps=16, shift=3.0, guidance=2.0, sizes=((96, 96),)
    ),
    warn=WARN,
    pictures=Pictures(
        "wan_core.models.wan.pictures:as_channels",
        takes=("image", "last_image", "continues"),
        needs=("image",),
        overlap=9,
    ),
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
