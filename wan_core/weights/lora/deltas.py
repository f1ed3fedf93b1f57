"""The change that a patch makes to its weight, in float32. The formulas are those of LyCORIS and PEFT."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from wan_core.contract.errors import WeightsError
from wan_core.weights.lora.matching import rank_of
from wan_core.weights.lora.patches import Form, Patch
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import TensorSource

__all__ = ["FACTORED", "applied", "patched", "refuse_broken", "scale_of"]

FACTORED: tuple[Form, ...] = ("pair", "loha", "lokr")
"""Forms whose change is a product of factors, and so has a scale."""

GROWTH = 16
"""A patch that makes its weight larger may make it so many times as large."""

Parts = Mapping[str, Tensor]


def patched(weight: Tensor, patch: Patch, source: TensorSource, strength: float) -> Tensor:
    """``weight`` after one patch.

    Args:
        weight: float32, or float64; not changed.
        source: the LoRA file.

    Raises:
        WeightsError: a number in the file makes no sense.
    """
    kind = weight.dtype
    parts = {
        part: source.get(name, weight.device, None if part == "reshape" else kind)
        for part, name in patch.parts.items()
    }
    refuse_broken(patch, parts, source)
    if "reshape" in parts:
        weight = _grown(weight, parts["reshape"], source)
        change = _FORMS[patch.form](parts)
        if change.numel() != weight.numel():
            raise _ungrowable(list(weight.shape), list(change.shape), source)
    scale = scale_of(patch, parts, source) if patch.form in FACTORED else 1.0
    return applied(weight, patch.form, parts, scale, strength)


def applied(
    weight: Tensor, form: Form, parts: Parts, scale: float | Tensor, strength: float | Tensor
) -> Tensor:
    """``weight`` after one patch whose tensors are there; with tensors for numbers, part of a compiled graph.

    Args:
        weight: float32, or float64; not changed.
        parts: tensors of that type that fit it.
        scale: of the product of factors, see :func:`scale_of`.
        strength: how strongly the patch counts.
    """
    if form == "set":
        new = parts["set"].reshape(weight.shape)
        return torch.where(strength != 0, new, weight) if isinstance(strength, Tensor) else new
    if form == "diff":
        return weight + strength * parts["diff"].reshape(weight.shape)
    change = _FORMS[form](parts).reshape(weight.shape) * scale
    if "dora" in parts:
        return _dora(weight, change, parts["dora"], strength)
    if "magnitude" in parts:
        return _magnitudes(weight, change, parts["magnitude"], strength)
    return weight + strength * change


def refuse_broken(patch: Patch, parts: Parts, source: TensorSource) -> None:
    """Refuse tensors of a patch that hold NaN or infinity, which would spoil the weight at any strength.

    Args:
        parts: its tensors, read from ``source``; alpha has a sentence of its own, see :func:`scale_of`.

    Raises:
        WeightsError: one of them is broken.
    """
    for part, tensor in parts.items():
        if part not in ("alpha", "factor") and not bool(tensor.float().isfinite().all()):
            raise WeightsError(
                f"the LoRA's tensor {shown(patch.parts[part])} holds NaN or infinity",
                where=source.label,
                remedy="download it again, or use another file",
            )


def scale_of(patch: Patch, parts: Parts, source: TensorSource) -> float:
    """What the product of a patch's factors is multiplied by, strength aside: alpha over rank.

    Args:
        parts: its tensors, read from ``source``.

    Raises:
        WeightsError: it is no finite number.
    """
    if "factor" in parts:
        scale = float(parts["factor"])
    else:
        rank = rank_of({part: tuple(t.shape) for part, t in parts.items()}, patch.form)
        alpha = float(parts["alpha"]) if "alpha" in parts else patch.alpha
        scale = alpha / rank if alpha is not None and rank else 1.0
    if not math.isfinite(scale):
        raise WeightsError(
            f"the LoRA's alpha for {patch.target} is no finite number",
            where=source.label,
            remedy="download it again",
        )
    return scale


def _grown(weight: Tensor, shape: Tensor, source: TensorSource) -> Tensor:
    """The weight with zeros at the end of its axes, up to ``shape``."""
    wanted = [int(size) for size in shape.flatten().tolist()]
    fits = len(wanted) == weight.ndim and all(
        size >= own for size, own in zip(wanted, weight.shape, strict=True)
    )
    if not fits or math.prod(wanted) > GROWTH * weight.numel():
        raise _ungrowable(list(weight.shape), wanted, source)
    ends = [size - own for size, own in zip(wanted, weight.shape, strict=True)]
    return functional.pad(weight, [n for end in reversed(ends) for n in (0, end)])


def _ungrowable(own: list[int], wanted: list[int], source: TensorSource) -> WeightsError:
    return WeightsError(
        f"the LoRA wants a weight of shape {own} to become {wanted}",
        where=source.label,
        remedy="use it with the model that it was made for",
    )


def _pair(parts: Parts) -> Tensor:
    down, up = parts["down"], parts["up"].flatten(1)
    if "mid" in parts:
        return torch.einsum("op,pq...,qi->oi...", up, parts["mid"], down.flatten(1))
    return up @ down.flatten(1)


def _product(left: Tensor, right: Tensor, core: Tensor | None) -> Tensor:
    if core is None:
        return left @ right.flatten(1)
    return torch.einsum("ij...,jr,ip->pr...", core, right, left)


def _loha(parts: Parts) -> Tensor:
    one, two = (
        _product(parts[f"hada_w{i}_a"], parts[f"hada_w{i}_b"], parts.get(f"hada_t{i}"))
        for i in (1, 2)
    )
    return one * two


def _lokr(parts: Parts) -> Tensor:
    one, two = (
        parts[f"lokr_w{i}"]
        if f"lokr_w{i}" in parts
        else _product(
            parts[f"lokr_w{i}_a"], parts[f"lokr_w{i}_b"], parts.get("lokr_t2") if i == 2 else None
        )
        for i in (1, 2)
    )
    return torch.kron(one.reshape(*one.shape, *(1,) * (two.ndim - 2)), two.contiguous())


def _lengths(weight: Tensor) -> Tensor:
    """Of every row."""
    found: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return found


def _dora(weight: Tensor, change: Tensor, magnitudes: Tensor, strength: float | Tensor) -> Tensor:
    """Magnitudes by rows are over the lengths of the original weight's rows, those by columns over the new
    weight's columns: files are trained for what ComfyUI makes of them."""
    new = weight + change
    if magnitudes.shape[0] == weight.shape[0]:
        norm = _lengths(weight).reshape(-1, *(1,) * (weight.ndim - 1))
    else:
        columns = _lengths(new.transpose(0, 1))
        norm = columns.reshape(1, -1, *(1,) * (weight.ndim - 2))
    norm = norm + torch.finfo(new.dtype).eps
    scaled = new * (magnitudes.reshape(norm.shape) / norm)
    whole = not isinstance(strength, Tensor) and strength == 1
    return scaled if whole else weight + strength * (scaled - weight)


def _magnitudes(
    weight: Tensor, change: Tensor, magnitudes: Tensor, strength: float | Tensor
) -> Tensor:
    """PEFT's: over the lengths of the new weight's rows."""
    new = weight + change
    norm = _lengths(new).reshape(-1, *(1,) * (weight.ndim - 1))
    scaled = new * (magnitudes.reshape(norm.shape) / norm)
    return weight + strength * (scaled - weight)


_FORMS: Mapping[Form, Callable[[Parts], Tensor]] = {"pair": _pair, "loha": _loha, "lokr": _lokr}
