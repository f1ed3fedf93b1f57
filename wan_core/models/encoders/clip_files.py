"""Files of a CLIP vision tower: how they name its tensors, its sizes, whether it is whole. Imports no torch.

Here the *official* names are those of transformers' ``CLIPVisionModel``, into which the tensors go. Other files
keep query, key and value of a block in one tensor; under official names that is ``…self_attn.qkv``, which
:class:`VisionTower` cuts into its three parts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.weights.dialects import Dialect, detect, renaming
from wan_core.weights.naming import in_official_names
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised.layouts import GGUF_BLOCKS
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import RenamedSource, TensorInfo
from wan_core.weights.stacks import StoredStack, numbered

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wan_core.weights.sources import TensorSource

__all__ = ["CLIP_DIALECTS", "ClipConfig", "VisionTower", "verify_image_encoder", "vision_tower"]

_TOWER = "vision_model."
_LAYER = "vision_model.encoder.layers.{i}"
_QKV = ".self_attn.qkv."
_PARTS = (".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj.")
_LEADING_ONES = ("embeddings.class_embedding", "embeddings.position_embedding.weight")

_PUBLISHED = {1280: (16, 32)}
"""Width -> heads and blocks of the towers that Wan models use."""


def _dialect(
    name: str, mark: str, table: Sequence[tuple[str, str]], ignores: tuple[str, ...]
) -> Dialect:
    to_official, from_official = renaming(table)
    return Dialect(
        name, "clip-vision", lambda names: mark in names, to_official, from_official, ignores
    )


CLIP_OFFICIAL = _dialect(
    "official",
    "visual.patch_embedding.weight",
    [
        ("vision_model.embeddings.class_embedding", "visual.cls_embedding"),
        ("vision_model.embeddings.patch_embedding.weight", "visual.patch_embedding.weight"),
        ("vision_model.embeddings.position_embedding.weight", "visual.pos_embedding"),
        ("vision_model.pre_layrnorm.{*}", "visual.pre_norm.{*}"),
        (f"{_LAYER}.layer_norm1.{{*}}", "visual.transformer.{i}.norm1.{*}"),
        (f"{_LAYER}.layer_norm2.{{*}}", "visual.transformer.{i}.norm2.{*}"),
        (f"{_LAYER}{_QKV}{{*}}", "visual.transformer.{i}.attn.to_qkv.{*}"),
        (f"{_LAYER}.self_attn.out_proj.{{*}}", "visual.transformer.{i}.attn.proj.{*}"),
        (f"{_LAYER}.mlp.fc1.{{*}}", "visual.transformer.{i}.mlp.0.{*}"),
        (f"{_LAYER}.mlp.fc2.{{*}}", "visual.transformer.{i}.mlp.2.{*}"),
        ("vision_model.post_layernorm.{*}", "visual.post_norm.{*}"),
        ("visual_projection.weight", "visual.head"),
    ],
    ("textual.*", "log_scale", "visual.head.*"),
)

CLIP_OPENCLIP = _dialect(
    "openclip",
    "visual.conv1.weight",
    [
        ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
        ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"),
        ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
        ("vision_model.pre_layrnorm.{*}", "visual.ln_pre.{*}"),
        (f"{_LAYER}.layer_norm1.{{*}}", "visual.transformer.resblocks.{i}.ln_1.{*}"),
        (f"{_LAYER}.layer_norm2.{{*}}", "visual.transformer.resblocks.{i}.ln_2.{*}"),
        (f"{_LAYER}{_QKV}{{*}}", "visual.transformer.resblocks.{i}.attn.in_proj_{*}"),
        (
            f"{_LAYER}.self_attn.out_proj.{{*}}",
            "visual.transformer.resblocks.{i}.attn.out_proj.{*}",
        ),
        (f"{_LAYER}.mlp.fc1.{{*}}", "visual.transformer.resblocks.{i}.mlp.c_fc.{*}"),
        (f"{_LAYER}.mlp.fc2.{{*}}", "visual.transformer.resblocks.{i}.mlp.c_proj.{*}"),
        ("vision_model.post_layernorm.{*}", "visual.ln_post.{*}"),
        ("visual_projection.weight", "visual.proj"),
    ],
    (
        *("transformer.*", "token_embedding.*", "positional_embedding", "ln_final.*", "text.*"),
        *("text_projection*", "logit_scale", "logit_bias", "attn_mask"),
    ),
)

CLIP_HF = Dialect(
    name="transformers",
    component="clip-vision",
    detect=lambda names: "vision_model.embeddings.patch_embedding.weight" in names,
    to_official=lambda name: name if name.startswith((_TOWER, "visual_projection.")) else None,
    from_official=lambda name: None if _QKV in name else name,
    ignores=("text_model.*", "text_projection.*", "logit_scale"),
)

# what newer versions of transformers write for a tower alone
CLIP_HF_BARE = Dialect(
    name="transformers, bare",
    component="clip-vision",
    detect=lambda names: {"embeddings.patch_embedding.weight", "pre_layrnorm.weight"} <= names,
    to_official=lambda name: f"{_TOWER}{name}",
    from_official=lambda name: name.removeprefix(_TOWER) if _QKV not in name else None,
)

CLIP_DIALECTS = (CLIP_OFFICIAL, CLIP_OPENCLIP, CLIP_HF, CLIP_HF_BARE)


@attrs.frozen
class ClipConfig:
    """Sizes of a vision tower. ViT-H/14: 224, 14, 1280, 5120, 16 heads, 32 layers.

    Attributes:
        layers: of the whole tower; the last one is never run, because what leaves the last but one is the
            result.
    """

    image_size: int
    patch_size: int
    width: int
    mlp_width: int
    heads: int
    layers: int
    eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Rows of a picture: its patches and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1


class VisionTower(RenamedSource):
    """The tensors of a tower that are used, as transformers' ``CLIPVisionModel`` names them.

    What a file has besides (text tower, last layer, projection) is not here.

    Raises:
        WeightsError: query, key and value are in one tensor that can't be cut into three.
    """

    def __init__(self, base: RenamedSource, layers: int) -> None:
        stored: dict[str, str] = {}
        self._thirds: dict[str, int] = {}
        for name in base.names():
            inner = name.removeprefix(_TOWER)
            if not name.startswith(_TOWER) or _is_unused(inner, layers):
                continue
            if _QKV not in inner:
                stored[inner] = name
                continue
            for third, part in enumerate(_PARTS):
                split = inner.replace(_QKV, part)
                stored[split] = name
                self._thirds[split] = third
        super().__init__(base, stored, base.unknown)
        self.tensors = {name: self._info(name, info) for name, info in self.tensors.items()}

    def get(
        self,
        name: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        shape = self.tensors[name].shape
        if name not in self._thirds:
            return super().get(name, device, dtype).reshape(shape)
        start = self._thirds[name] * shape[0]
        return super().get(name)[start : start + shape[0]].to(device=device, dtype=dtype)

    def _info(self, name: str, info: TensorInfo) -> TensorInfo:
        shape = info.shape
        if info.dtype in GGUF_BLOCKS:
            raise WeightsError(
                f"tensor {_as_the_file_says(name, self)} is of the type {info.dtype}, which is not read for "
                "vision towers",
                where=self.label,
                remedy="use the bf16 or fp16 file of the model",
            )
        if name in self._thirds:
            if not shape or shape[0] % 3:
                raise WeightsError(
                    f"tensor {_as_the_file_says(name, self)} {list(shape)} does not hold query, key and value",
                    where=self.label,
                    remedy="download or convert it again",
                )
            return TensorInfo(info.dtype, (shape[0] // 3, *shape[1:]), info.nbytes // 3)
        if name in _LEADING_ONES:
            while len(shape) > 1 and shape[0] == 1:
                shape = shape[1:]
        return attrs.evolve(info, shape=shape)


def vision_tower(
    source: TensorSource,
    known: Mapping[str, Any],
    dialects: Sequence[Dialect] = (),
    config: ClipConfig | None = None,
) -> tuple[ClipConfig, VisionTower]:
    """The sizes of the tower in a file, and its tensors.

    Numbers of heads and layers, which can't be read off the tensors of a file that may lack the last layer,
    come from ``known`` (``num_heads``, ``num_layers``), else from the header's entry ``config`` (JSON), else
    they are the published ones of that width.

    Args:
        dialects: more of them, brought by plugins.
        config: the sizes, when they are known.

    Raises:
        WeightsError: it is no vision tower, or its sizes make no sense.
    """
    official = in_official_names(source, (*CLIP_DIALECTS, *dialects))
    config = config or _config(official, {**_stated(source), **known})
    return config, VisionTower(official, config.layers - 1)


def stored_units(
    source: TensorSource, known: Mapping[str, Any], dialects: Sequence[Dialect] = ()
) -> StoredStack:
    """The layers that are run of a vision tower's file, as the encoder's ``units()`` are."""
    _, tower = vision_tower(source, known, dialects)
    return StoredStack(
        unpacked(tower),
        numbered("encoder.layers.{}", "encoder.layers.", tower.names()),
        unpacks=("embeddings.*",),
    )


def verify_image_encoder(source: TensorSource, known: Mapping[str, Any]) -> None:
    """Refuse a CLIP file that lacks tensors of its vision tower, or has some of the wrong shape.

    Raises:
        WeightsError: naming the first of them as the file would.
    """
    config, tower = vision_tower(source, known)
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in tower.tensors]
    if missing:
        names = list(dict.fromkeys(_as_the_file_says(name, tower) for name in missing))
        more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
        raise WeightsError(
            f"the CLIP vision tower is incomplete: {names[0]}{more} missing",
            where=source.label,
            remedy="download or convert it again",
        )
    for name, shape in expected.items():
        if tower.shape(name) != shape:
            raise WeightsError(
                f"tensor {_as_the_file_says(name, tower)} does not fit the others: it gives "
                f"{list(tower.shape(name))}, and {list(shape)} are needed",
                where=source.label,
                remedy="download or convert it again",
            )


def expected_shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor that is used, with its shape."""
    width, wide = config.width, config.mlp_width
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.class_embedding": (width,),
        "embeddings.patch_embedding.weight": (width, 3, config.patch_size, config.patch_size),
        "embeddings.position_embedding.weight": (config.tokens, width),
    }
    for norm in ("weight", "bias"):
        shapes[f"pre_layrnorm.{norm}"] = (width,)
    linears = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
    linears |= {"mlp.fc1": (wide, width), "mlp.fc2": (width, wide)}
    for layer in range(config.layers - 1):
        for name, shape in linears.items():
            shapes[f"encoder.layers.{layer}.{name}.weight"] = shape
            shapes[f"encoder.layers.{layer}.{name}.bias"] = shape[:1]
        for name in ("layer_norm1", "layer_norm2"):
            for norm in ("weight", "bias"):
                shapes[f"encoder.layers.{layer}.{name}.{norm}"] = (width,)
    return shapes


def _is_unused(name: str, layers: int) -> bool:
    parts = name.split(".")
    if parts[:2] == ["encoder", "layers"] and len(parts) > 2 and parts[2].isdecimal():
        return int(parts[2]) >= layers
    return parts[0] == "post_layernorm" or name == "embeddings.position_ids"


def _as_the_file_says(name: str, tower: VisionTower) -> str:
    """The file's own name of a tensor of the tower, be it there or not."""
    base = tower.base
    names = base.base.names() if isinstance(base, RenamedSource) else base.names()
    dialect = detect(frozenset(names), CLIP_DIALECTS)
    official = f"{_TOWER}{name}"
    fused = official
    for part in _PARTS:
        fused = fused.replace(part, _QKV)
    known = dialect and (dialect.from_official(fused) or dialect.from_official(official))
    return shown(known or official)


def _config(official: TensorSource, stated: Mapping[str, int]) -> ClipConfig:
    where = official.label
    count = {name.split(".")[3] for name in official.names() if name.startswith(_LAYER[:-3])}
    try:
        width, colours, patch, other = official.shape(
            "vision_model.embeddings.patch_embedding.weight"
        )
        *_, tokens, _ = official.shape("vision_model.embeddings.position_embedding.weight")
        mlp_width, _ = official.shape("vision_model.encoder.layers.0.mlp.fc1.weight")
        side = math.isqrt(tokens - 1)
        if (colours, other, side * side) != (3, patch, tokens - 1) or not side * patch:
            raise ValueError
    except (KeyError, ValueError) as error:
        raise WeightsError(
            "its tensors are not those of a CLIP vision tower", where=where
        ) from error
    heads, layers = _PUBLISHED.get(width, (None, len(count)))
    heads, layers = stated.get("num_heads", heads), stated.get("num_layers", layers)
    if heads is None or width % heads:
        raise WeightsError(
            f"{heads} heads do not divide the width {width}"
            if heads
            else f"the number of heads of a vision tower of width {width} is not known",
            where=where,
            remedy="use CLIP ViT-H/14, the image encoder of Wan 2.1",
        )
    return ClipConfig(side * patch, patch, width, mlp_width, heads, layers)


def _stated(source: TensorSource) -> dict[str, int]:
    """What a file's header says under ``config`` (JSON)."""
    try:
        config: Any = json.loads(source.metadata.get("config", "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError("the header entry config is no JSON", where=source.label) from error
    if not isinstance(config, dict):
        raise WeightsError("the header entry config is no JSON object", where=source.label)
    sizes = {key: config[key] for key in ("num_heads", "num_layers") if config.get(key) is not None}
    for key, size in sizes.items():
        if type(size) is not int or not 0 < size < 1000:
            raise WeightsError(
                f"the header's config says {key} = {shown(str(size))}, which is no such number",
                where=source.label,
            )
    return sizes
