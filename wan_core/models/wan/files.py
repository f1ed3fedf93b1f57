"""What a transformer's file says of itself in its header, and whether it is whole. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wan_core.contract.errors import WeightsError
from wan_core.contract.quantization import Quantization
from wan_core.models.wan.config import PATCH, WanConfig
from wan_core.models.wan.dialects import DIALECTS
from wan_core.weights import Dialect, TensorSource, identify, in_official_names
from wan_core.weights.lora import LoraTargets
from wan_core.weights.naming import matches
from wan_core.weights.numbers import refuse_unread_numbers, unpacked
from wan_core.weights.quantised.own import suits
from wan_core.weights.quantised.source import UnpackedSource
from wan_core.weights.safetensors_header import shown
from wan_core.weights.stacks import StoredStack

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

KEEP_FLOAT32 = (
    "patch_embedding.*",
    "vace_patch_embedding.*",
    "time_embedding.*",
    "time_projection.*",
    "*modulation",
    "*norm3.*",
    "head.*",
)
"""Names (``fnmatch``) of parameters used in float32: kept in less, they lose for no gain."""

PATCH_EMBEDDING = "patch_embedding.weight"
"""The weight whose input channels LoRA files may add to."""

TEXT_EMBEDDING, IMAGE_EMBEDDING = "text_embedding", "img_emb"
"""Modules beside the blocks that can lie in host memory: they are called once a step, before the blocks."""


def official_source(source: TensorSource, dialects: Sequence[Dialect] = ()) -> UnpackedSource:
    """A transformer's file as one of plain tensors under official names.

    Args:
        dialects: that plugins bring.
    """
    return unpacked(in_official_names(source, (*DIALECTS, *dialects)))


def transformer_config(source: TensorSource, known: Mapping[str, Any]) -> WanConfig:
    """The sizes of a transformer file under official names.

    Number of heads and text length, which no tensor shows, come from ``known`` (the family's), else from
    the header's entry ``config`` (JSON), else they are the published ones.

    Raises:
        WeightsError: a tensor that the sizes are read from is missing, or the header makes no sense.
    """
    stated = {**_stated_sizes(source), **known}
    return WanConfig.from_shapes(
        {name: info.shape for name, info in source.tensors.items()},
        num_heads=stated.get("num_heads"),
        text_len=stated.get("text_len", 512),
        where=source.label,
    )


def verify_transformer(source: TensorSource, known: Mapping[str, Any]) -> None:
    """Refuse a transformer file that lacks tensors, has some of the wrong shape, or parts of another model.

    Raises:
        WeightsError: naming the first of them.
    """
    official = official_source(source)
    config = transformer_config(official, known)
    _check_sight(source, config, known)
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in official.tensors]
    wrong = [n for n, s in expected.items() if n in official.tensors and official.shape(n) != s]
    if missing:
        raise WeightsError(
            f"the transformer is incomplete: {_some(missing)} missing",
            where=source.label,
            remedy="download or convert it again",
        )
    foreign = [name for name in (*official.tensors, *official.unknown) if name not in expected]
    if foreign:
        more = identify(source, DIALECTS[0].component).model
        raise WeightsError(
            f"the transformer has parts that this family has not: {shown(foreign[0])}"
            + (f" and {len(foreign) - 1} more tensors" if len(foreign) > 1 else "")
            + (f" (this is {more})" if more else ""),
            where=source.label,
            remedy="name a file of the family",
        )
    refuse_unread_numbers(official)
    if wrong:
        name = wrong[0]
        raise WeightsError(
            f"tensor {name} is {list(official.shape(name))}, not {list(expected[name])}"
            + (f", and {len(wrong) - 1} more are wrong" if len(wrong) > 1 else ""),
            where=source.label,
            remedy="download or convert it again",
        )


def lora_targets(source: TensorSource, dialects: Sequence[Dialect] = ()) -> LoraTargets:
    """What LoRA files may change of a transformer's file; of these, the patch embedding may become wider.

    Args:
        dialects: that plugins bring.
    """
    official = official_source(source, dialects)  # shapes are those of weights, not of codes
    shapes = {name: info.shape for name, info in official.tensors.items()}
    return LoraTargets(shapes, (*DIALECTS, *dialects), widens={PATCH_EMBEDDING: "in_dim"})


def quantised_layers(
    source: TensorSource,
    known: Mapping[str, Any],
    quantization: Quantization,
    dialects: Sequence[Dialect] = (),
) -> Shapes:
    """The matrices of a transformer file that are quantised while it is loaded, under official names.

    They are those of the blocks, which are nearly all of its weights. What turns inputs into tokens, tokens
    into outputs and time into modulation stays: it is small and loses most. So do, where they become int4,
    matrices whose inputs are no whole groups.

    Args:
        dialects: that plugins bring.
    """
    official = official_source(source, dialects)
    return block_matrices(transformer_config(official, known), quantization)


def stored_units(
    source: TensorSource, known: Mapping[str, Any], dialects: Sequence[Dialect] = ()
) -> StoredStack:
    """Blocks and VACE blocks of a transformer's file in their order of use, as its ``units()`` are.

    Args:
        dialects: that plugins bring.
    """
    official = official_source(source, dialects)
    config = transformer_config(official, known)
    units = {}
    for index in range(config.num_layers):
        units[f"blocks.{index}"] = f"blocks.{index}."
        if index in config.vace_layers:
            name = f"vace_blocks.{config.vace_layers.index(index)}"
            units[name] = f"{name}."
    parts = (TEXT_EMBEDDING, IMAGE_EMBEDDING) if config.image_dim else (TEXT_EMBEDDING,)
    return StoredStack(
        official, units, {part: f"{part}." for part in parts}, keep_float32=KEEP_FLOAT32
    )


def block_matrices(config: WanConfig, quantization: Quantization) -> Shapes:
    """See :func:`quantised_layers`."""
    return {
        name: shape
        for name, shape in expected_shapes(config).items()
        if name.startswith(("blocks.", "vace_blocks."))
        and name.endswith(".weight")
        and len(shape) == 2
        and not matches(name.removesuffix(".weight"), quantization.keep)
        and suits(quantization.dtype, shape)
    }


def _check_sight(source: TensorSource, config: WanConfig, known: Mapping[str, Any]) -> None:
    """Wan 2.1 shows pictures to its image-to-video models as image tokens, Wan 2.2 does not."""
    sees = config.image_dim is not None
    if known.get("sees_images", sees) == sees:
        return
    raise WeightsError(
        f"this transformer takes {'' if sees else 'no '}image tokens, and that of the family "
        f"{'does not' if sees else 'does'}: those of Wan 2.1 image-to-video do, of Wan 2.2 don't",
        where=source.label,
        remedy="name a file of the family, or another family",
    )


def expected_shapes(config: WanConfig) -> Shapes:
    """Every tensor of a transformer with its shape, under official names."""
    dim, patch = config.dim, (1, *PATCH[1:])
    shapes: Shapes = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (outputs, inputs), (outputs,)

    def norm(name: str, width: int) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)

    def block(name: str) -> None:
        shapes[f"{name}.modulation"] = (1, 6, dim)
        norm(f"{name}.norm3", dim)
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                linear(f"{name}.{attention}.{part}", dim, dim)
            shapes[f"{name}.{attention}.norm_q.weight"] = (dim,)
            shapes[f"{name}.{attention}.norm_k.weight"] = (dim,)
        if config.image_dim is not None:
            linear(f"{name}.cross_attn.k_img", dim, dim)
            linear(f"{name}.cross_attn.v_img", dim, dim)
            shapes[f"{name}.cross_attn.norm_k_img.weight"] = (dim,)
        linear(f"{name}.ffn.0", config.ffn_dim, dim)
        linear(f"{name}.ffn.2", dim, config.ffn_dim)

    shapes["patch_embedding.weight"] = (dim, config.in_dim, *patch)
    shapes["patch_embedding.bias"] = (dim,)
    linear("text_embedding.0", dim, config.text_dim)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, config.freq_dim)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim)
    if config.image_dim is not None:
        norm("img_emb.proj.0", config.image_dim)
        linear("img_emb.proj.1", config.image_dim, config.image_dim)
        linear("img_emb.proj.3", dim, config.image_dim)
        norm("img_emb.proj.4", dim)
    if config.image_positions is not None and config.image_dim is not None:
        shapes["img_emb.emb_pos"] = (1, config.image_positions, config.image_dim)
    for index in range(config.num_layers):
        block(f"blocks.{index}")
    if config.vace_layers:
        channels = config.vace_in_dim or config.in_dim
        shapes["vace_patch_embedding.weight"] = (dim, channels, *patch)
        shapes["vace_patch_embedding.bias"] = (dim,)
    for index in range(len(config.vace_layers)):
        block(f"vace_blocks.{index}")
        linear(f"vace_blocks.{index}.after_proj", dim, dim)
        if index == 0:
            linear("vace_blocks.0.before_proj", dim, dim)
    shapes["head.modulation"] = (1, 2, dim)
    linear("head.head", PATCH[0] * PATCH[1] * PATCH[2] * config.out_dim, dim)
    return shapes


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more} {'are' if more else 'is'}"


def _stated_sizes(source: TensorSource) -> dict[str, int]:
    """What a file's header says under ``config`` (JSON) of the sizes that no tensor shows."""
    try:
        config: Any = json.loads(source.metadata.get("config", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError("the header entry config is no JSON", where=source.label) from error
    if not isinstance(config, dict):
        raise WeightsError("the header entry config is no JSON object", where=source.label)
    sizes = {key: config[key] for key in ("num_heads", "text_len") if config.get(key) is not None}
    for key, size in sizes.items():
        if type(size) is not int or size < 1:
            raise WeightsError(
                f"the header's config says {key} = {size!r}, which is no whole number above 0",
                where=source.label,
            )
    return sizes
