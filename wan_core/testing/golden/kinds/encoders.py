"""Reference cases of topic ``encoders``: the UMT5 encoder and the cleaning of prompts."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.models.encoders.cleaning import clean
from wan_core.models.encoders.umt5 import UMT5Config, UMT5Encoder, load_umt5
from wan_core.testing.golden.case import Case, NotBuilt, stated
from wan_core.weights.state_dict import StateDict


def umt5_encode(case: Case) -> None:
    """Padded batches with all their rows, and the unpadded way that the product takes."""
    encoder = _encoder(case)
    for index, call in enumerate(case["calls"]):
        ids, mask = case.tensor(call["input_ids"]), case.tensor(call["mask"])
        lengths = [int(n) for n in mask.sum(dim=1)]
        case.check_value(f"calls.{index}.lengths", lengths, call["lengths"])
        hidden, after = _hidden_and_taps(encoder, ids, mask)
        case.check(call["outputs"]["hidden"], hidden)
        rows = encoder.encode([row[:n].tolist() for row, n in zip(ids, lengths, strict=True)])
        context = torch.zeros_like(hidden)
        for padded, valid in zip(context, rows, strict=True):
            padded[: len(valid)] = valid
        case.check(call["outputs"]["context"], context)
        for block, tensor in enumerate(after):
            name = f"outputs.after_block{block}_{index}"
            if case.has(name):
                case.check(name, tensor)
    _check_position_bias(case, encoder)


def text_clean(case: Case) -> None:
    """Prompts and what each mode makes of them."""
    for index, entry in enumerate(case["cases"]):
        for mode in ("whitespace", "lower", "canonicalize"):
            case.check_value(f"cases.{index}.{mode}", clean(entry["text"], mode), entry[mode])


def clip(case: Case) -> None:
    raise NotBuilt("the CLIP vision tower")


def _encoder(case: Case) -> UMT5Encoder:
    given = stated(case["config"])
    if given.get("shared_pos"):
        raise NotBuilt("one table of position biases for all layers")
    optional = {"num_buckets": "buckets", "max_dist": "max_distance", "eps": "eps"}
    config = UMT5Config(
        vocabulary=given["vocab"],
        width=given["dim"],
        attention_width=given["dim_attn"],
        ffn_width=given["dim_ffn"],
        heads=given["num_heads"],
        layers=given["num_layers"],
        **{ours: given[theirs] for theirs, ours in optional.items() if theirs in given},
    )
    weights = StateDict(case.group("weights."), label=case.path.name)
    return load_umt5(weights, dtype=torch.float32, config=config)


def _hidden_and_taps(
    encoder: UMT5Encoder, ids: Tensor, mask: Tensor
) -> tuple[Tensor, list[Tensor]]:
    after: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        after.append(output)

    hooks = [unit.module.register_forward_hook(keep) for unit in encoder.units()]
    hidden = encoder.encode_padded(ids, mask)
    for hook in hooks:
        hook.remove()
    return hidden, after


def _check_position_bias(case: Case, encoder: UMT5Encoder) -> None:
    attention = encoder.model.encoder.block[0].layer[0].SelfAttention
    for name in case.group("outputs."):
        if match := re.fullmatch(r"pos_bias_block(\d+)_L(\d+)", name):
            bias = encoder.position_bias(int(match[1]), int(match[2]))
            case.check(f"outputs.{name}", bias)
        elif match := re.fullmatch(r"bucket_of_relative_position_(-?\d+)_(-?\d+)", name):
            first, last = int(match[1]), int(match[2])
            distances = torch.arange(first, last + 1)
            case.check(f"outputs.{name}", attention._relative_position_bucket(distances))


HANDLERS = {
    "umt5.encode": umt5_encode,
    "text.clean": text_clean,
    "clip.encode": clip,
    "clip.preprocess": clip,
}
