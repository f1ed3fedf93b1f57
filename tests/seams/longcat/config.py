"""Sizes of the transformer, and of what it keeps of condition frames. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from wan_core.contract import StateSpec

KV = "kv"


@attrs.frozen
class LongCatConfig:
    """The published names of the sizes."""

    in_channels: int
    out_channels: int
    hidden_size: int
    depth: int
    num_heads: int
    caption_channels: int
    adaln_tembed_dim: int = 512
    frequency_embedding_size: int = 256
    mlp_ratio: int = 4
    text_tokens_zero_pad: bool = False

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> LongCatConfig:
        """From a published ``config.json``; keys of parts that are not here are left out."""
        names = {field.name for field in attrs.fields(cls)}
        return cls(**{k: value for k, value in table.items() if k in names and value is not None})

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def ffn_width(self) -> int:
        """Two thirds of the usual width, rounded up to a multiple of 256."""
        return -(int(2 * (self.mlp_ratio * self.hidden_size) / 3) // -256) * 256

    def kv_spec(self, frames: int, height: int, width: int, item: int) -> StateSpec:
        """Keys and values of ``frames`` latent frames in all blocks; ``item`` is bytes per number."""
        tokens = frames * (height // 2) * (width // 2)
        return StateSpec(KV, self.depth * 2 * tokens * self.hidden_size * item, "segment")
