"""A transformer's names and shapes in small, and LoRA files for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wan_core.models.wan.dialects import DIALECTS
from wan_core.weights import StateDict
from wan_core.weights.lora import LoraTargets

DIM, WIDE = 6, 10
_LINEAR = [f"{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"]
_LINEAR += ["cross_attn.k_img", "cross_attn.v_img"]


def _block(name: str) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {f"{name}.modulation": (1, 6, DIM)}
    for part in _LINEAR:
        shapes |= {f"{name}.{part}.weight": (DIM, DIM), f"{name}.{part}.bias": (DIM,)}
    shapes |= {f"{name}.ffn.0.weight": (WIDE, DIM), f"{name}.ffn.0.bias": (WIDE,)}
    shapes |= {f"{name}.ffn.2.weight": (DIM, WIDE), f"{name}.ffn.2.bias": (DIM,)}
    shapes |= {f"{name}.norm3.weight": (DIM,), f"{name}.norm3.bias": (DIM,)}
    return shapes | {f"{name}.self_attn.norm_q.weight": (DIM,)}


SHAPES: Mapping[str, tuple[int, ...]] = {
    "patch_embedding.weight": (DIM, 4, 1, 2, 2),
    "patch_embedding.bias": (DIM,),
    "text_embedding.2.weight": (DIM, DIM),
    "time_projection.1.weight": (6 * DIM, DIM),
    "img_emb.proj.3.weight": (DIM, 8),
    "head.head.weight": (16, DIM),
    "head.modulation": (1, 2, DIM),
    **{k: v for n in (0, 1, 11) for k, v in _block(f"blocks.{n}").items()},
    **_block("vace_blocks.0"),
}
TARGETS = LoraTargets(SHAPES, DIALECTS)


def pair(
    path: str, rows: int = DIM, columns: int = DIM, rank: int = 2
) -> dict[str, tuple[int, ...]]:
    """The factors of a linear layer, in PEFT's names."""
    return {f"{path}.lora_A.weight": (rank, columns), f"{path}.lora_B.weight": (rows, rank)}


def header(shapes: Mapping[str, tuple[int, ...]], **metadata: str) -> StateDict:
    """A file of which only names and shapes are there."""
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    return StateDict(tensors, "x.safetensors", metadata=metadata)


def filled(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Random numbers in these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
