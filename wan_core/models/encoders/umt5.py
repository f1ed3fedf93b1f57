"""The UMT5 encoder: ids to hidden rows.

The network is transformers' ``UMT5EncoderModel``; here it is built without memory, filled from any
published file, and run layer by layer. Source of the architecture: Wan-Video/Wan2.1,
``wan/modules/t5.py`` (``T5Encoder`` with ``shared_pos=False``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from wan_core.contract.errors import WeightsError
from wan_core.memory.units import Unit, rest_of
from wan_core.models.encoders.dialects import UMT5_DIALECTS, UMT5_HF
from wan_core.models.encoders.files import EMBEDDING
from wan_core.weights.loading import Keep, load_into
from wan_core.weights.naming import in_official_names
from wan_core.weights.numbers import unpacked
from wan_core.weights.sources import TensorSource

__all__ = ["UMT5Config", "UMT5Encoder", "build_umt5", "load_umt5"]

TABLES = (EMBEDDING,)


@attrs.frozen
class UMT5Config:
    """Sizes of the encoder. UMT5-XXL: 256384, 4096, 4096, 10240, 64 heads, 24 layers."""

    vocabulary: int
    width: int
    attention_width: int
    ffn_width: int
    heads: int
    layers: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6

    @classmethod
    def of(cls, source: TensorSource) -> UMT5Config:
        """Deduce the sizes from the shapes of ``source`` (official names).

        Raises:
            WeightsError: the tensors that tell are missing or contradict each other.
        """
        blocks = {name.split(".")[1] for name in source.names() if name.startswith("blocks.")}
        try:
            vocabulary, width = source.shape("token_embedding.weight")
            attention_width, _ = source.shape("blocks.0.attn.q.weight")
            ffn_width, _ = source.shape("blocks.0.ffn.fc1.weight")
            buckets, heads = source.shape("blocks.0.pos_embedding.embedding.weight")
        except (KeyError, ValueError) as error:
            raise WeightsError(
                "its tensors are not those of a UMT5 encoder", where=source.label
            ) from error
        if not heads or attention_width % heads:
            raise WeightsError(
                f"{heads} heads do not divide the attention width {attention_width}",
                where=source.label,
            )
        return cls(
            vocabulary, width, attention_width, ffn_width, heads, len(blocks), buckets=buckets
        )


def build_umt5(config: UMT5Config) -> Any:
    """transformers' ``UMT5EncoderModel`` of these sizes on the meta device, for inference."""
    from transformers import UMT5Config as HFConfig
    from transformers import UMT5EncoderModel

    settings: dict[str, Any] = {
        "vocab_size": config.vocabulary,
        "d_model": config.width,
        "d_kv": config.attention_width // config.heads,
        "d_ff": config.ffn_width,
        "num_layers": config.layers,
        "num_heads": config.heads,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance,
        "layer_norm_epsilon": config.eps,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "use_cache": False,
        # how the other implementations add the position bias differs between versions
        "attn_implementation": "eager",
    }
    with torch.device("meta"):
        model: Any = UMT5EncoderModel(HFConfig(**settings))
    # transformers ties these two in some versions and for some checkpoints only
    model.encoder.embed_tokens = model.shared
    return model.eval().requires_grad_(False)


def load_umt5(
    source: TensorSource,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    config: UMT5Config | None = None,
    keep: Keep | None = None,
) -> UMT5Encoder:
    """Build the encoder that ``source`` holds and fill it.

    In float16 the second feed-forward matrix (``wo``) stays float32, as transformers does: its
    products overflow half precision.

    Args:
        source: a checkpoint in any of :data:`UMT5_DIALECTS`.
        dtype: precision of weights and computation; None keeps the stored one, and is
            bfloat16 for quantised weights, which are for storage only.
        config: sizes; None deduces them from the shapes.
        keep: see :func:`~wan_core.weights.load_into`.

    Raises:
        WeightsError: ``source`` is no UMT5 encoder, or damaged.
    """
    official = unpacked(in_official_names(source, UMT5_DIALECTS))
    config = config or UMT5Config.of(official)
    if dtype is None and official.layouts:
        dtype = torch.bfloat16
    model = build_umt5(config)
    load_into(
        model,
        official,
        dtype=dtype,
        device=device,
        keep_float32=("*.wo.weight",) if dtype is torch.float16 else (),
        module_dialect=UMT5_HF,
        keep=keep and keep.without(TABLES),
    )
    return UMT5Encoder(model, config)


class UMT5Encoder:
    """Ids to hidden rows.

    Attributes:
        model: transformers' ``UMT5EncoderModel``.
        config: its sizes.
    """

    def __init__(self, model: Any, config: UMT5Config) -> None:
        self.model = model
        self.config = config
        self._stack = model.encoder
        self._norm = model.encoder.final_layer_norm

    def units(self) -> list[Unit]:
        """The layers, in order; each maps ``[batch, rows, width]`` to the same shape."""
        return [Unit(f"encoder.block.{i}", layer) for i, layer in enumerate(self._stack.block)]

    def rest(self) -> dict[str, Tensor]:
        """Parameters outside the layers (embedding table, last norm), by their name in the model."""
        return rest_of(self.model, self.units())

    def tables(self) -> Collection[str]:
        """The embedding table, 2 GB in UMT5-XXL: rows of it are looked up where it lies."""
        return TABLES

    @property
    def device(self) -> torch.device:
        """Where the layers compute. The embedding table may lie elsewhere."""
        device: torch.device = self._norm.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._norm.weight.dtype
        return dtype

    @torch.no_grad()
    def encode(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Encode prompts without any padding.

        Every prompt is computed by itself, so that its rows do not depend on what else is encoded;
        all prompts pass a layer before the next one, so that swapped weights travel once.

        Args:
            prompts: ids of each prompt, ``</s>`` included.

        Returns:
            ``[ids, width]`` per prompt.
        """
        rows = [self._embed(torch.tensor([ids], dtype=torch.int64)) for ids in prompts]
        for unit in self.units():
            rows = [unit.module(x) for x in rows]
        return [self._norm(x)[0] for x in rows]

    @torch.no_grad()
    def encode_padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode a padded batch, as upstream does.

        Args:
            ids: int64 ``[batch, rows]``.
            mask: ``[batch, rows]``, 1 for ids and 0 for padding. Padding is hidden from all rows;
                its own rows are computed all the same.

        Returns:
            ``[batch, rows, width]``.
        """
        x = self._embed(ids)
        hidden = (mask == 0).to(self.device)[:, None, None, :]
        bias = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device)
        bias = bias.masked_fill(hidden, torch.finfo(self.dtype).min)
        for unit in self.units():
            x = unit.module(x, bias)
        rows: Tensor = self._norm(x)
        return rows

    def position_bias(self, block: int, length: int) -> Tensor:
        """What ``block`` adds to its attention scores: ``[1, heads, length, length]``."""
        bias: Tensor = self._stack.block[block].layer[0].SelfAttention.compute_bias(length, length)
        return bias

    def _embed(self, ids: Tensor) -> Tensor:
        table: Tensor = self._stack.embed_tokens.weight
        return nn.functional.embedding(ids.to(table.device), table).to(self.device)
