"""Reference cases of topic ``encoders``: UMT5, the cleaning of prompts, CLIP and its pictures."""

from __future__ import annotations

import re
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from wan_core.models.encoders.cleaning import clean
from wan_core.models.encoders.clip import load_clip
from wan_core.models.encoders.clip_files import ClipConfig
from wan_core.models.encoders.image import ImageEncoder
from wan_core.models.encoders.preparation import Preparation, prepare
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


def clip_encode(case: Case) -> None:
    """Pictures to image tokens, and the taps of every call."""
    given = stated(case["config"])
    pools = given.get("pool_type", "token")
    if not pools.startswith("token") or not given.get("pre_norm", True):
        raise NotBuilt("a vision tower without class token or norm before its layers")
    if given.get("post_norm") or given.get("activation", "gelu") != "gelu":
        raise NotBuilt("a vision tower with norms behind its layers, or of another activation")
    config = ClipConfig(
        image_size=given["image_size"],
        patch_size=given["patch_size"],
        width=given["dim"],
        mlp_width=int(given["dim"] * given["mlp_ratio"]),
        heads=given["num_heads"],
        layers=given["num_layers"],
    )
    weights = StateDict(case.group("weights."), label=case.path.name)
    encoder = ImageEncoder(load_clip(weights, dtype=torch.float32, config=config))
    # as if another layer followed the last one, which then is run
    taller = attrs.evolve(config, layers=config.layers + 1)
    whole = load_clip(weights, dtype=torch.float32, config=taller)
    for index, call in enumerate(case["calls"]):
        videos = [case.tensor(name) for name in call["inputs"]]
        frames = [prepare(video.transpose(0, 1), config.image_size) for video in videos]
        pixels = torch.cat(frames)
        case.check(call["outputs"]["pixel_values"], pixels)
        case.check(call["outputs"]["clip_fea"], encoder.encode(videos))
        taps = {"embeddings_after_pre_norm": encoder.clip.embed, "all_layers": whole.encode}
        for tap, compute in taps.items():
            if case.has(name := f"outputs.{tap}_{index}"):
                case.check(name, compute(pixels))


def clip_preprocess(case: Case) -> None:
    """The ways to prepare a picture."""
    ways: dict[str, Preparation] = {
        "official": "official",
        "comfy_crop_center": "comfy-center",
        "comfy_crop_disabled": "comfy-stretch",
        "hf_clip_image_processor": "transformers",
    }
    size = case["config"]["target_size"]
    for call in case["calls"]:
        picture = case.tensor(call["image"])[None]
        for key, way in ways.items():
            if key not in call:
                continue
            got = prepare(picture, size, way)
            if key.startswith("comfy"):
                case.check(call[key], got, tolerance=0.0153, absolute=True)
            else:
                case.check(call[key], got)


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
    "clip.encode": clip_encode,
    "clip.preprocess": clip_preprocess,
}
