"""The components that families of Wan are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wan_core.contract.descriptions import Component, PublishedFile
from wan_core.models.families import published
from wan_core.models.vae.descriptor import PREVIEW_SLOT

TEXT_LENGTH = 512

FLOAT32 = ("time_*", "condition_embedder.time_*", "head.*", "proj_out.*")
"""What a transformer computes in float32, as files name it."""
UMT5_TABLES = (
    "token_embedding.weight",
    "shared.weight",
    "encoder.embed_tokens.weight",
    "token_embd.weight",
)
"""The table of a text encoder's words, as files name it."""

LOADERS = "wan_core.models.loaders"
TRANSFORMER_UNITS = "wan_core.models.wan.files:stored_units"
TEXT_ENCODER_UNITS = "wan_core.models.encoders.files:stored_units"
IMAGE_ENCODER_UNITS = "wan_core.models.encoders.clip_files:stored_units"
VERIFY_TRANSFORMER = "wan_core.models.wan.files:verify_transformer"
LORA_TARGETS = "wan_core.models.wan.files:lora_targets"
QUANTISED_LAYERS = "wan_core.models.wan.files:quantised_layers"
VERIFY_TEXT_ENCODER = "wan_core.models.encoders.files:verify_text_encoder"
VERIFY_IMAGE_ENCODER = "wan_core.models.encoders.clip_files:verify_image_encoder"
VERIFY_VAE = "wan_core.models.vae.files:verify_vae"
VERIFY_TAEHV = "wan_core.models.vae.taehv_files:verify_taehv"

WIDE = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
"""Sizes of the transformers of 14 B parameters."""
SMALL = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}
"""Those of 1.3 B."""
MIDDLE = {"dim": 3072, "ffn_dim": 14336, "num_heads": 24, "num_layers": 30}
"""Those of 5 B."""


def outline_of(name: str) -> str:
    """A list of published tensors, which docs/make_outlines.py makes."""
    return f"outlines/{name}.outline.json"


def transformer(
    sizes: Mapping[str, int],
    files: tuple[PublishedFile, ...],
    *,
    in_dim: int = 16,
    out_dim: int = 16,
    outline: str | None = None,
    **more: Any,
) -> Component:
    """A Wan transformer.

    Args:
        outline: of the first file, see :attr:`wan_core.contract.Component.outline`.
        more: further configuration.
    """
    return Component(
        kind="wan-transformer",
        load=f"{LOADERS}:load_transformer",
        verify=VERIFY_TRANSFORMER,
        lora_targets=LORA_TARGETS,
        keeps_apart=True,
        config={
            **sizes,
            "in_dim": in_dim,
            "out_dim": out_dim,
            "text_len": TEXT_LENGTH,
            **more,
        },
        published=files,
        outline=outline,
        unpacks=FLOAT32,
        quantises=QUANTISED_LAYERS,
        units=TRANSFORMER_UNITS,
    )


def text_encoder() -> Component:
    """UMT5-XXL."""
    return Component(
        kind="umt5-encoder",
        load=f"{LOADERS}:load_text_encoder",
        verify=VERIFY_TEXT_ENCODER,
        config={"dim": 4096, "layers": 24, "text_len": TEXT_LENGTH},
        published=published.UMT5_XXL,
        outline=outline_of("umt5-xxl-encoder"),
        unpacks=UMT5_TABLES,
        units=TEXT_ENCODER_UNITS,
    )


def image_encoder() -> Component:
    """CLIP's vision tower, ViT-H/14."""
    return Component(
        kind="clip-vision",
        load=f"{LOADERS}:load_image_encoder",
        verify=VERIFY_IMAGE_ENCODER,
        config={"dim": 1280},
        published=published.CLIP,
        outline=outline_of("clip-vit-h-14-full-official-checkpoint"),
        units=IMAGE_ENCODER_UNITS,
    )


def vaes() -> dict[str, Component]:
    """The VAE of Wan 2.1, which all families but the 5B have, and the tiny one for previews."""
    return {"vae": _vae(16, published.VAE, "wan2.1-vae"), PREVIEW_SLOT: _preview_vae(16)}


def vaes_2_2() -> dict[str, Component]:
    """The VAE of Wan 2.2 TI2V-5B (48 channels, strides of 16) and the tiny one for previews."""
    return {"vae": _vae(48, published.VAE_2_2, "wan2.2-vae"), PREVIEW_SLOT: _preview_vae(48)}


def _vae(channels: int, files: tuple[PublishedFile, ...], tensors: str) -> Component:
    return Component(
        kind="wan-vae",
        load=f"{LOADERS}:load_vae",
        verify=VERIFY_VAE,
        config={"z_dim": channels},
        published=files,
        outline=outline_of(tensors),
    )


def _preview_vae(channels: int) -> Component:
    return Component(
        kind="taehv",
        load=f"{LOADERS}:load_taehv",
        verify=VERIFY_TAEHV,
        config={"z_dim": channels},
        optional=True,
    )
