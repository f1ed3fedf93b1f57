"""The sizes of a Wan transformer, and how they show in its tensors' shapes. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.errors import WeightsError

PATCH = (1, 2, 2)
"""Latent frames, rows and columns of one token; the same in every published Wan model."""

HEAD_WIDTH = 128
"""Head width of every published Wan model; only tiny test models have another."""

AT_ONCE = 4096
"""Tokens that are in float32 at a time while they are normed or rotated; results do not depend on it."""


@attrs.frozen
class WanConfig:
    """Sizes of a Wan transformer; the names are those of the official ``config.json``.

    Attributes:
        dim: width of the residual stream.
        ffn_dim: hidden width of the feed-forward.
        num_heads: attention heads.
        num_layers: blocks.
        in_dim: input channels, those of concatenated conditioning included (16, 36, 48 …).
        out_dim: channels of the velocity.
        freq_dim: width of the time sinusoid.
        text_dim: width of the text rows.
        text_len: rows that the text is padded to.
        image_dim: width of the image tokens (CLIP features); None = no image cross-attention.
        image_positions: learned positions of the image tokens (first-last-frame models), or None.
        vace_layers: blocks that get a VACE hint; empty = no VACE blocks.
        vace_in_dim: channels of the VACE context; None = ``in_dim``.
        eps: of every norm but those of the image embedding.
    """

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_dim: int = 16
    out_dim: int = 16
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    image_dim: int | None = None
    image_positions: int | None = None
    vace_layers: tuple[int, ...] = ()
    vace_in_dim: int | None = None
    eps: float = 1e-6

    def __attrs_post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(
                f"{self.num_heads} heads of even width do not make a width of {self.dim}"
            )
        if any(not 0 <= layer < self.num_layers for layer in self.vace_layers):
            raise ValueError(f"VACE layers {self.vace_layers} outside 0 … {self.num_layers - 1}")
        if self.freq_dim % 2:
            raise ValueError(f"a time sinusoid of odd width {self.freq_dim}")

    @property
    def head_width(self) -> int:
        return self.dim // self.num_heads

    @classmethod
    def from_shapes(
        cls,
        shapes: Mapping[str, Sequence[int]],
        *,
        num_heads: int | None = None,
        text_len: int = 512,
        vace_layers: Sequence[int] | None = None,
        where: str = "",
    ) -> WanConfig:
        """Deduce the sizes from the shapes of an official state dict.

        Args:
            shapes: official tensor name -> shape. Other names are ignored.
            num_heads: heads, when the head width is not the published 128.
            text_len: rows that the text is padded to; it does not show in the tensors.
            vace_layers: blocks that get a hint; None = evenly spread from block 0, as published.
            where: the file's name, for messages.

        Raises:
            WeightsError: a tensor that every Wan transformer has is missing, the sizes do not fit each
                other, or the width is no multiple of 128 and ``num_heads`` is not given.
        """

        def size(name: str, axis: int) -> int:
            if len(shapes.get(name, ())) <= axis:
                raise WeightsError(
                    f"no tensor {name!r} with {axis + 1} axes or more: these are not the weights of "
                    "a Wan transformer",
                    where=where,
                    remedy="check the file, or whether it holds only an extension such as VACE",
                )
            return shapes[name][axis]

        dim = size("patch_embedding.weight", 0)
        if num_heads is None and (dim % HEAD_WIDTH or not dim):
            raise WeightsError(
                f"the number of heads does not follow from a width of {dim}",
                where=where,
                remedy="state num_heads",
            )
        layers = _count(shapes, "blocks", where)
        hints = _count(shapes, "vace_blocks", where)
        if vace_layers is None:
            vace_layers = range(0, layers, -(-layers // hints)) if hints else ()
        if len(vace_layers) != hints:
            raise WeightsError(
                f"{hints} VACE blocks do not fit the {len(vace_layers)} layers {list(vace_layers)}",
                where=where,
            )
        image, positions = "img_emb.proj.0.weight", "img_emb.emb_pos"
        sizes: dict[str, Any] = {
            "dim": dim,
            "ffn_dim": size("blocks.0.ffn.0.weight", 0),
            "num_heads": num_heads or dim // HEAD_WIDTH,
            "num_layers": layers,
            "in_dim": size("patch_embedding.weight", 1),
            "out_dim": size("head.head.weight", 0) // (PATCH[0] * PATCH[1] * PATCH[2]),
            "freq_dim": size("time_embedding.0.weight", 1),
            "text_dim": size("text_embedding.0.weight", 1),
            "text_len": text_len,
            "image_dim": size(image, 0) if image in shapes else None,
            "image_positions": size(positions, 1) if positions in shapes else None,
            "vace_layers": tuple(vace_layers),
            "vace_in_dim": size("vace_patch_embedding.weight", 1) if hints else None,
        }
        try:
            return cls(**sizes)
        except ValueError as error:
            raise WeightsError(str(error), where=where) from error


def _count(shapes: Mapping[str, object], stack: str, where: str) -> int:
    """Number of blocks in ``stack``, which are numbered from 0 without a gap."""
    pattern = re.compile(rf"{stack}\.(\d+)\.")
    found = {int(m[1]) for m in map(pattern.match, shapes) if m}
    if found and max(found) >= len(found):
        raise WeightsError(
            f"of {stack} 0 … {max(found)} only {len(found)} are there: the file is not complete",
            where=where,
        )
    return len(found)
