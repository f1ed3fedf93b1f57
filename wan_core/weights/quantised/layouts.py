"""How each weight of a file is quantised, from its header alone. Imports no torch.

A quantised weight is one tensor of codes, or of blocks with their scales inside (GGUF), and what stands beside
it: scales under several names, and ComfyUI's note on the format, a JSON text of a few bytes in a tensor
(``X.comfy_quant``) or in the header (``_quantization_metadata``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.weights.gguf_types import GGML_TYPES
from wan_core.weights.quantised.own import GROUP, holds_int4
from wan_core.weights.safetensors_header import json_trouble, shown, unique_keys
from wan_core.weights.shard_headers import NOTES
from wan_core.weights.sources import RenamedSource, TensorInfo, TensorSource

__all__ = ["CHUNK", "GGUF_BLOCKS", "Layout", "layouts_of"]

GGUF_BLOCKS: Mapping[str, tuple[int, int]] = {
    kind.name: (kind.block, kind.nbytes)
    for kind in GGML_TYPES.values()
    if kind.name[:3] in ("Q2_", "Q3_", "Q4_", "Q5_", "Q6_", "Q8_", "IQ4")
}
"""Block formats that are read: values and bytes of a block."""

UNREAD_BLOCKS = {kind.name for kind in GGML_TYPES.values() if kind.block > 1} - set(GGUF_BLOCKS)
FP8 = {"F8_E4M3": "fp8_e4m3fn", "F8_E5M2": "fp8_e5m2"}
COMFY = {
    "float8_e4m3fn": ("fp8_e4m3fn", ("F8_E4M3", "U8")),
    "float8_e5m2": ("fp8_e5m2", ("F8_E5M2", "U8")),
    "int8_tensorwise": ("int8", ("I8",)),
    "mxfp8": ("mxfp8", ("F8_E4M3", "U8")),
    "nvfp4": ("nvfp4", ("U8",)),
}
"""ComfyUI's word for a format -> ours, and the types its codes may be stored in."""

COMPANIONS = (
    "scale_weight",
    "weight_scale",
    "weight_scale_2",
    "scale_input",
    "input_scale",
    "comfy_quant",
)
"""What stands beside a weight ``X.weight`` as ``X.<companion>``. Scales of inputs are for other arithmetic."""

FLOATS = ("F64", "F32", "F16", "BF16")
BLOCK_SCALES = {"nvfp4": (16, ("F8_E4M3", "U8")), "mxfp8": (32, ("F8_E8M0", "U8"))}
"""Values that share a scale, and the types it may be stored in."""
CHUNK = 2**22
"""Values that are unpacked at a time: the float32 between codes and result stays small."""
MAX_NOTE = 4096
MAX_HEADER_NOTE = 2**22
REMEDY = "use a bf16, fp16, fp8 or GGUF file of the model"


@attrs.frozen
class Layout:
    """How one weight is stored.

    Attributes:
        scheme: ``"fp8_e4m3fn"``, ``"fp8_e5m2"``, ``"int8"``, ``"int4"`` (wan-core's own), ``"nvfp4"``,
            ``"mxfp8"``, or a block format of GGUF (``"Q4_K"``).
        shape: of the weight.
        scale: name of the tensor with its scale, or None: a number, or one for each output channel.
        block_scales: name of the tensor with a scale for each block, or None.
        nbytes: of the codes and scales.
        exact: the file says that it is not to be multiplied as it is stored.
    """

    scheme: str
    shape: tuple[int, ...]
    nbytes: int
    scale: str | None = None
    block_scales: str | None = None
    exact: bool = False


def layouts_of(source: TensorSource) -> tuple[dict[str, Layout], frozenset[str]]:
    """The quantised weights of ``source`` by name, and the names of what stands beside them.

    Args:
        source: under whatever names; of a weight and its companions all but the last part is the same.

    Raises:
        WeightsError: a weight is quantised in a way that is not read, or does not fit its scales.
    """
    notes = _notes(source)
    int4, exact = holds_int4(source), _is_for_storage(source)
    layouts: dict[str, Layout] = {}
    beside: set[str] = set()
    for name, info in source.tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf in COMPANIONS:
            beside.add(name)
            continue
        if info.dtype in UNREAD_BLOCKS:
            raise _unread(source, f"tensor {shown(name)} is of the type {info.dtype}")
        note = notes.pop(module, None) if leaf == "weight" else None
        scheme = _plain_scheme(info) if note is None else _scheme(source, module, note, info)
        if int4 and note is None and leaf == "weight" and info.dtype == "U8":
            scheme = "int4"
        if scheme:
            layout = _layout(source, name, scheme, info)
            stated = note is not None and note.get("full_precision_matrix_mult") is True
            layouts[name] = attrs.evolve(layout, exact=exact or stated)
    for name in beside:
        module = name.rpartition(".")[0]
        if f"{module}.weight" not in layouts:
            raise _unread(source, f"{shown(name)} is the scale of no quantised weight")
    return layouts, frozenset(beside)


def _plain_scheme(info: TensorInfo) -> str:
    """The scheme of a tensor of which no note says anything; ``""`` for plain numbers."""
    if info.dtype in GGUF_BLOCKS:
        return info.dtype
    return FP8.get(info.dtype) or ("int8" if info.dtype == "I8" else "")


def _scheme(source: TensorSource, module: str, note: Mapping[str, Any], info: TensorInfo) -> str:
    """The scheme that ComfyUI's note on a layer names."""
    word = note.get("format")
    if not isinstance(word, str):
        raise _unread(source, f"the note on layer {shown(module)} names no format")
    if word not in COMFY:
        raise _unread(
            source, f"layer {shown(module)} is in the format {shown(word)}, which is not read"
        )
    scheme, stored = COMFY[word]
    if info.dtype not in stored:
        raise _unfit(source, module, f"is said to be {word} and holds {info.dtype}")
    return scheme


def _layout(source: TensorSource, name: str, scheme: str, info: TensorInfo) -> Layout:
    """The layout of a tensor with what stands beside it, checked; only weights have scales."""
    module = name.removesuffix(".weight")

    def find(*leaves: str) -> str | None:
        names = [f"{module}.{leaf}" for leaf in leaves if f"{module}.{leaf}" in source.tensors]
        if module == name or not names:
            return None
        if len(names) > 1:
            raise _unfit(source, module, f"has two scales, {' and '.join(map(shown, names))}")
        return names[0]

    def sized(*names: str | None) -> int:
        return info.nbytes + sum(source.tensors[name].nbytes for name in names if name)

    if not all(info.shape):
        raise _unfit(source, module, "holds no numbers")
    if scheme in BLOCK_SCALES:
        scale, blocks = find("weight_scale_2"), find("weight_scale")
        shape = _block_shape(source, module, scheme, info, blocks)
        if scheme == "nvfp4" and scale is None:
            raise _unfit(source, module, "lacks weight_scale_2")
        _check_scale(source, module, scale, 1)
        return Layout(scheme, shape, sized(scale, blocks), scale, blocks)
    if scheme == "int4":
        blocks = find("weight_scale")
        shape = _int4_shape(source, module, info, blocks)
        return Layout(scheme, shape, sized(blocks), None, blocks)
    scale = find("scale_weight", "weight_scale")
    if scheme == "int8" and scale is None:
        raise _unread(source, f"tensor {shown(name)} is of the type I8")
    if find("weight_scale_2"):
        raise _unfit(source, module, f"is {scheme} with a second scale")
    if scheme in GGUF_BLOCKS and scale:
        raise _unfit(source, module, "has a scale beside those in its blocks")
    _check_scale(source, module, scale, info.shape[0] if len(info.shape) > 1 else 1)
    return Layout(scheme, info.shape, sized(scale), scale)


def _check_scale(source: TensorSource, module: str, name: str | None, channels: int) -> None:
    """A scale is one number, or one for each output channel: ``[channels]`` or ``[channels, 1]``."""
    if name is None:
        return
    info = source.tensors[name]
    whole = prod(info.shape) in (1, channels)
    if info.dtype not in FLOATS or not whole or any(size != 1 for size in info.shape[1:]):
        raise _unfit(source, module, f"has scales {info.dtype} {list(info.shape)}")


def _block_shape(
    source: TensorSource, module: str, scheme: str, info: TensorInfo, scales: str | None
) -> tuple[int, int]:
    """Shape of a weight in blocks, whose scales are in tiles of 128 rows and 4 blocks."""
    size, types = BLOCK_SCALES[scheme]
    if len(info.shape) != 2 or scales is None:
        raise _unfit(source, module, f"is {scheme} without being a matrix with block scales")
    rows, columns = info.shape[0], info.shape[1] * (2 if scheme == "nvfp4" else 1)
    stored = source.tensors[scales]
    if (
        columns % size
        or prod(stored.shape) != -(-rows // 128) * 128 * -(-columns // size // 4) * 4
        or stored.dtype not in types
    ):
        raise _unfit(source, module, f"has block scales {stored.dtype} {list(stored.shape)}")
    return rows, columns


def _int4_shape(
    source: TensorSource, module: str, info: TensorInfo, scales: str | None
) -> tuple[int, int]:
    """Shape of a weight in int4, two values a byte, with a scale for each group."""
    if len(info.shape) != 2 or scales is None:
        raise _unfit(source, module, "is int4 without being a matrix with scales")
    rows, columns = info.shape[0], info.shape[1] * 2
    stored = source.tensors[scales]
    if columns % GROUP or stored.dtype != "BF16" or stored.shape != (rows, columns // GROUP):
        raise _unfit(
            source, module, f"has scales {stored.dtype} {list(stored.shape)} for {rows}x{columns}"
        )
    return rows, columns


def _notes(source: TensorSource) -> dict[str, Mapping[str, Any]]:
    """What the file says on layers: their name here -> the note.

    Raises:
        WeightsError: a layer is rotated, whichever of its notes says so; two notes name two formats.
    """
    stated = _header_notes(source)
    for layer, note in stated.items():  # also one that the file has under another name
        _refuse_rotated(source, layer, note)
    notes: dict[str, Mapping[str, Any]] = {}
    for name, info in source.tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf == "comfy_quant":
            if info.dtype != "U8" or info.nbytes > MAX_NOTE:
                raise _unfit(source, module, "has a comfy_quant that is no short text")
            own = [_table(source, source.raw(name), f"comfy_quant of {shown(module)}")]
            _refuse_rotated(source, module, own[0])
        elif leaf == "weight" and stated:
            layers = (one.removesuffix(".weight") for one in _names_in_files(source, name))
            own = [stated[layer] for layer in layers if layer in stated]
        else:
            continue
        for note in own:
            known = notes.get(module, {})
            if "format" in known and note.get("format", known["format"]) != known["format"]:
                raise _unfit(source, module, "has two notes, which name two formats")
            notes[module] = {**note, **known}
    return notes


def _refuse_rotated(source: TensorSource, layer: str, note: Mapping[str, Any]) -> None:
    """A rotated layer is worth something else. The size of its groups alone is taken to say that it is one."""
    if note.get("convrot", note.get("convrot_groupsize")):
        raise _unread(source, f"layer {shown(layer)} is rotated (convrot), which is not read")


def _header_notes(source: TensorSource) -> Mapping[str, Any]:
    text = source.metadata.get(NOTES, "")
    if not text:
        return {}
    if len(text) > MAX_HEADER_NOTE:
        raise _unread(source, f"the header's entry {NOTES} is too long")
    layers = _table(source, text, NOTES).get("layers")
    if not isinstance(layers, dict) or not all(isinstance(one, dict) for one in layers.values()):
        raise _unread(source, f"the header's entry {NOTES} lists no layers")
    return layers


def _is_for_storage(source: TensorSource) -> bool:
    """Whether the marker of ComfyUI's fp8 files says that their weights are not multiplied in fp8."""
    while isinstance(source, RenamedSource):  # which leave markers out
        source = source.base
    return any(
        name.rpartition(".")[2] == "scaled_fp8" and prod(info.shape) == 2
        for name, info in source.tensors.items()
    )


def _names_in_files(source: TensorSource, name: str) -> Iterator[str]:
    """A tensor's name here and on the way down to the file."""
    yield name
    while isinstance(source, RenamedSource):
        name, source = source.stored[name], source.base
        yield name


def _table(source: TensorSource, text: str | bytes, what: str) -> Mapping[str, Any]:
    try:
        table = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise _unread(source, f"{what} is no JSON ({json_trouble(error)})") from error
    if not isinstance(table, dict):
        raise _unread(source, f"{what} is no JSON object")
    return table


def _unread(source: TensorSource, what: str) -> WeightsError:
    return WeightsError(
        f"the file holds quantised weights that are not read: {what}",
        where=source.label,
        remedy=REMEDY,
    )


def _unfit(source: TensorSource, module: str, how: str) -> WeightsError:
    return WeightsError(
        f"the quantised layer {shown(module)} {how}, which does not fit",
        where=source.label,
        remedy="download or convert it again",
    )
