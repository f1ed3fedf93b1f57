"""Reference cases of LoRA files: merged weights, and the forward pass with and without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from wan_core.models.wan.dialects import DIALECTS
from wan_core.testing.golden.case import Case, stated
from wan_core.testing.golden.kinds.transformer import build, config_of, predict
from wan_core.weights import StateDict
from wan_core.weights.lora import LoraTargets, Patch, merge, read_lora

GUESSED = ("base_model.model.", "blocks.0.cross_attn.k")
"""A file with both in one name has rank-stabilised scales, in the eyes of the references."""


def run_merge(case: Case) -> None:
    """``lora.merge``: every weight that the files change, and what the model makes of them."""
    weights = case.group("weights.")
    merged = dict(weights)
    for index, entry in enumerate(case["loras"]):
        file = case.group(f"lora{index}.")
        _merge(merged, file, stated(entry))
    changed = [name for name, tensor in merged.items() if tensor is not weights[name]]
    expected = case.group("expected.")
    case.check_value("names of merged weights", sorted(changed), sorted(expected))
    for name in expected:
        case.check(f"expected.{name}", merged[name])
    for prefix, tensors in (("outputs", merged), ("outputs_base", weights)):
        if case.has(f"{prefix}.0"):
            outputs = predict(case, build(config_of(case, tensors), tensors))
            for index, output in enumerate(outputs):
                case.check(f"{prefix}.{index}", output)


def _merge(
    weights: dict[str, Tensor], file: Mapping[str, Tensor], entry: Mapping[str, Any]
) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    guessed = any(all(part in name for part in GUESSED) for name in file)
    source = StateDict(file)
    found = read_lora(source, LoraTargets(shapes, DIALECTS), rank_stabilised=guessed)
    for patch in found.patches:
        if entry["strength"] and _wanted(patch, entry):
            own = weights[patch.target]
            weights[patch.target] = merge(own, [patch], source, entry["strength"])


def _wanted(patch: Patch, entry: Mapping[str, Any]) -> bool:
    """The references filter keys of files, in which modules have their official names."""
    module = f"diffusion_model.{patch.target.rpartition('.')[0]}."
    names = (module, *patch.keys)
    blocks = entry.get("selected_blocks")
    if (
        blocks is not None
        and "blocks." in module
        and not any(b in n for b in blocks for n in names)
    ):
        return False
    return not any(text in name for text in entry.get("layer_filter", ()) for name in names)


HANDLERS: dict[str, Callable[[Case], None]] = {"lora.merge": run_merge}
