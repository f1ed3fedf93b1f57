"""How the numbers of a checkpoint are stored: precision and quantisation, from its header alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from math import prod

import attrs

from wan_core.contract.errors import WeightsError
from wan_core.weights.gguf_types import GGML_TYPES, PLAIN, mixture
from wan_core.weights.quantised.own import GROUP, holds_int4
from wan_core.weights.sources import TensorInfo, TensorSource

__all__ = ["Precision", "precision_of"]

WORDS = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8 e4m3fn",
    "F8_E5M2": "fp8 e5m2",
    "I8": "int8",
    "U8": "uint8",
    "NVFP4": "nvfp4",
    "INT4": "int4",
}
SCALES = (".scale_weight", ".weight_scale")
MIXED = 0.05
"""Share of the values that a second precision needs for the file to be called mixed."""

MAX_STATED = 2**20
_BLOCK_TYPES = {kind.name for kind in GGML_TYPES.values()} - PLAIN


@attrs.frozen
class Precision:
    """How the numbers are stored.

    Attributes:
        scheme: in one word: ``"bf16"``, ``"fp16"``, ``"fp32"``, ``"mixed"``; ``"fp8_e4m3fn"`` or
            ``"fp8_e5m2"``, with ``_scaled`` when each weight has a scale; ``"int8_scaled"``; ``"int4"``;
            ``"nvfp4"``, ``"mxfp8"``; ``"nf4"``; a type that is none of these, such as ``"i32"``;
            of GGUF files what llama.cpp calls the mixture, such as ``"Q4_K_M"``.
        title: the same for people, with how the scales are stored.
        values: type -> number of values stored in it, most common first.
        marker: names that say how it is stored: ``"scaled_fp8"``, ``"comfy_quant"`` …
    """

    scheme: str = ""
    title: str = ""
    values: Mapping[str, int] = attrs.field(factory=dict)
    marker: tuple[str, ...] = ()

    @property
    def shares(self) -> str:
        """``"bf16 98 %, fp32 2 %"``."""
        total = sum(self.values.values())
        parts = [(kind, count / total) for kind, count in self.values.items() if count]
        shown = [f"{WORDS.get(k, k)} {_percent(share)}" for k, share in parts[:6]]
        return ", ".join([*shown, "…"] if len(parts) > 6 else shown)


def precision_of(source: TensorSource) -> Precision:
    """How ``source`` stores its numbers; names may have any prefix."""
    tensors = source.tensors
    values: Counter[str] = Counter()
    scales: list[tuple[str, TensorInfo, TensorInfo]] = []
    markers: Counter[str] = Counter()
    packed = False
    int4 = _is_int4(source)
    for name, info in tensors.items():
        leaf = name.rpartition(".")[2]
        if leaf in ("scaled_fp8", "comfy_quant"):
            markers[leaf] += 1
            continue
        if name.endswith(SCALES):
            module = name.removesuffix(".scale_weight").removesuffix(".weight_scale")
            weight = tensors.get(f"{module}.weight") or tensors.get(f"{module}.weight_int8")
            if weight:
                scales.append((leaf, info, weight))
                continue
        packed = packed or ".quant_state." in name
        half = info.dtype == "U8" and f"{name}_scale_2" in tensors
        half4 = int4 and info.dtype == "U8" and f"{name}_scale" in tensors
        kind = "NVFP4" if half else "INT4" if half4 else info.dtype
        values[kind] += prod(info.shape) * (2 if half or half4 else 1)
    ordered = dict(values.most_common())
    formats = _stated_formats(source)
    marker = (*sorted(markers), *sorted({leaf for leaf, _, _ in scales}), *sorted(formats))
    scheme, title = _name(source, ordered, scales, "comfy_quant" in markers or bool(formats))
    if packed and "U8" in values:
        scheme, title = "nf4", "4-bit blocks of bitsandbytes"
    return Precision(scheme, title, ordered, marker)


def _name(
    source: TensorSource,
    values: Mapping[str, int],
    scales: list[tuple[str, TensorInfo, TensorInfo]],
    comfy: bool,
) -> tuple[str, str]:
    """The scheme and its title."""
    blocks = _BLOCK_TYPES & set(values)
    if blocks or "general.architecture" in source.metadata:
        stated = source.metadata.get("general.file_type", "")
        label = mixture(values, int(stated) if stated.isdecimal() and len(stated) < 5 else None)
        return (label if blocks else WORDS.get(label, label)), f"GGUF {label}"
    by = ", ComfyUI's comfy_quant" if comfy else ""
    if "NVFP4" in values:
        return "nvfp4", f"nvfp4, 4-bit blocks of 16 with two scales{by}"
    if "INT4" in values:
        return "int4", f"int4, groups of {GROUP} with a scale each (wan-core)"
    total = sum(values.values()) or 1
    for kind in ("F8_E4M3", "F8_E5M2", "I8"):
        if values.get(kind, 0) < MIXED * total:
            continue
        own = [(leaf, scale) for leaf, scale, weight in scales if weight.dtype == kind]
        if kind == "F8_E4M3" and any(_is_block(scale) for _, scale in own):
            return "mxfp8", f"mxfp8, blocks of 32 with a power of two as scale{by}"
        word = WORDS[kind]
        base = "int8" if kind == "I8" else word.replace(" ", "_")
        if not own:
            return base, f"{word}, no scales"
        names = ", ".join(sorted({leaf for leaf, _ in own}))
        single = all(prod(scale.shape) == 1 for _, scale in own)
        how = "tensor" if single else "output channel"
        return f"{base}_scaled", f"{word}, one scale for each {how} ({names}){by}"
    most = next(iter(values), "")
    if most and (
        most not in WORDS or most == "U8"
    ):  # numbers that need something else to be weights
        return most.lower(), f"{most}, which needs more to become weights"
    floats = {kind: n for kind, n in values.items() if kind in WORDS and kind != "U8"}
    if not floats:
        return "", ""
    first = next(iter(floats))
    if any(n >= MIXED * total for kind, n in floats.items() if kind != first):
        return "mixed", "mixed"
    return WORDS[first].replace(" ", "_"), WORDS[first]


def _is_int4(source: TensorSource) -> bool:
    try:
        return holds_int4(source)
    except WeightsError:  # whoever reads the numbers says so
        return False


def _is_block(scale: TensorInfo) -> bool:
    return scale.dtype == "F8_E8M0" or (scale.dtype == "U8" and len(scale.shape) == 2)


def _stated_formats(source: TensorSource) -> set[str]:
    """The formats that ComfyUI's entry in the header names."""
    text = source.metadata.get("_quantization_metadata", "")
    if not text or len(text) > MAX_STATED:
        return set()
    try:
        layers = json.loads(text)["layers"].values()
        found = {layer["format"] for layer in layers}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
    return {name for name in found if isinstance(name, str) and name.isidentifier()}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "under 1 %"
