"""The CLIP vision tower: pixels to image tokens.

The network is transformers' ``CLIPVisionModel``, built without memory and filled from any published file. Its
result is what leaves the last layer but one. Source of that: Wan-Video/Wan2.1, ``wan/modules/clip.py``
(``VisionTransformer`` with ``use_31_block``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.memory.units import Unit, rest_of
from wan_core.models.encoders.clip_files import ClipConfig, vision_tower
from wan_core.weights.dialects import Dialect
from wan_core.weights.loading import Keep, load_into
from wan_core.weights.sources import TensorSource

__all__ = ["ClipVision", "build_clip", "load_clip"]


def build_clip(config: ClipConfig) -> Any:
    """transformers' vision tower without its last layer and norm, on the meta device, for inference."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    settings: dict[str, Any] = {
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers - 1,
        "num_attention_heads": config.heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "layer_norm_eps": config.eps,
        "hidden_act": "gelu",
        "attention_dropout": 0.0,
        "attn_implementation": "sdpa",
    }
    with torch.device("meta"):
        model: Any = CLIPVisionModel(CLIPVisionConfig(**settings))
    # some versions have the tower inside of the model, in others it is the model
    tower = getattr(model, "vision_model", model)
    tower.post_layernorm = nn.Identity()
    return tower.eval().requires_grad_(False)


def load_clip(
    source: TensorSource,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    config: ClipConfig | None = None,
    known: Mapping[str, Any] | None = None,
    dialects: Sequence[Dialect] = (),
    keep: Keep | None = None,
) -> ClipVision:
    """Build the tower that ``source`` holds and fill it; only what is used is read.

    Args:
        source: a checkpoint in any of :data:`CLIP_DIALECTS` or ``dialects``, with or without its text tower.
        dtype: precision of weights and computation (upstream float16); None keeps the stored one, but 8-bit
            floats, which are for storage only, become bfloat16.
        config: sizes; None deduces them, see :func:`vision_tower`.
        known: sizes that no tensor shows.
        keep: see :func:`~wan_core.weights.load_into`.

    Raises:
        WeightsError: ``source`` holds no vision tower, or is damaged.
    """
    config, tower = vision_tower(source, known or {}, dialects, config)
    if dtype is None and any(info.dtype.startswith("F8") for info in tower.tensors.values()):
        dtype = torch.bfloat16
    model = build_clip(config)
    load_into(model, tower, dtype=dtype, device=device, keep=keep)
    # no tensor of the file, and still without memory
    model.embeddings.position_ids = torch.arange(config.tokens, device=device)[None]
    return ClipVision(model, config)


class ClipVision:
    """Pixels to image tokens.

    Attributes:
        model: transformers' vision tower.
        config: its sizes.
    """

    def __init__(self, model: Any, config: ClipConfig) -> None:
        self.model = model
        self.config = config

    def units(self) -> list[Unit]:
        """The layers that are run, in order; each maps ``[batch, tokens, width]`` to the same shape."""
        return [
            Unit(f"encoder.layers.{i}", layer) for i, layer in enumerate(self.model.encoder.layers)
        ]

    def rest(self) -> dict[str, Tensor]:
        """Parameters and buffers outside the layers, by their name in the model."""
        return rest_of(self.model, self.units())

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.pre_layrnorm.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.pre_layrnorm.weight.dtype
        return dtype

    @torch.no_grad()
    def embed(self, pixels: Tensor) -> Tensor:
        """What enters the first layer: patches behind the class token, with their positions, normed.

        Args:
            pixels: ``[batch, 3, image_size, image_size]``, as :func:`prepare` gives them.

        Returns:
            ``[batch, tokens, width]``.
        """
        rows: Tensor = self.model.pre_layrnorm(self.model.embeddings(pixels.to(self.device)))
        return rows

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Image tokens ``[batch, tokens, width]``: what leaves the last layer but one.

        Args:
            pixels: as for :meth:`embed`.
        """
        x = self.embed(pixels)
        for unit in self.units():
            x = unit.module(x, None)
        return x
