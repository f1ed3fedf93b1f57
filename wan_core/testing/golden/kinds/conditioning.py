"""Reference cases of kind ``wan.conditioning``: masks of known frames, VACE's context, sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wan_core.media.sizes import area_size, best_size, vace_picking
from wan_core.models.wan.assembly import known_frames_mask, vace_context
from wan_core.testing.golden.case import Case

MASK = re.compile(r"outputs\.(i2v|flf2v)_mask_F(\d+)")
KNOWN = {"i2v": (0,), "flf2v": (0, -1)}


def conditioning(case: Case) -> None:
    for name in case.tensors:
        if found := MASK.fullmatch(name):
            height, width = case["lat_hw"]
            known = KNOWN[found[1]]
            case.check(name, known_frames_mask(int(found[2]), known, height, width))
    _vace(case)
    for field, rule in (
        ("i2v_output_size_wh", area_size),
        ("ti2v_5b_best_output_size_wh", best_size),
    ):
        _sizes(case, field, rule)
    for index, entry in enumerate(case.get("vace_video_preprocess", [])):
        _pick(case, f"vace_video_preprocess.{index}", entry)


def _vace(case: Case) -> None:
    if not case.has("inputs.frames"):
        return
    mix, frames = case.tensor("inputs.stub_vae_mix"), case.tensor("inputs.frames")
    mask, references = case.tensor("inputs.mask"), case.series("inputs.ref")

    def encode(video: Tensor) -> Tensor:
        """The case's stand-in for a VAE: means of cells and of groups of frames, channels mixed."""
        pooled = torch.nn.functional.avg_pool2d(video.transpose(0, 1), 8)
        groups = [pooled[:1], *torch.split(pooled[1:], 4)] if len(pooled) > 1 else [pooled]
        means = torch.stack([group.mean(dim=0) for group in groups], dim=1)
        return torch.einsum("oc,cthw->othw", mix, means)

    plain, referred = (
        vace_context(encode, frames, mask),
        vace_context(encode, frames, mask, references),
    )
    for name, got in (
        ("outputs.vace_context_no_refs", plain),
        ("outputs.vace_context_with_refs", referred),
        ("outputs.mask_64ch_with_refs", referred[32:]),
    ):
        if case.has(name):
            case.check(name, got)


def _sizes(case: Case, field: str, rule: Callable[[int, int, int], tuple[int, int]]) -> None:
    for index, entry in enumerate(case.get(field, [])):
        width, height = entry["image_wh"]
        got = rule(width, height, entry["max_area"])
        case.check_value(f"{field}.{index}", list(got), list(entry["output_wh"]))


def _pick(case: Case, name: str, entry: dict[str, Any]) -> None:
    width, height = entry["video_wh"]
    numbers = np.arange(entry["frames"] + 1, dtype=np.float32) / np.float32(entry["fps"])
    times = list(zip(numbers[:-1].tolist(), numbers[1:].tolist(), strict=True))
    got = vace_picking(width, height, times, entry["seq_len"], entry["area"])
    case.check_value(f"{name}.frame_ids", list(got.frames), list(entry["frame_ids"]))
    case.check_value(f"{name}.output_wh", list(got.size), list(entry["output_wh"]))
    close = abs(got.fps - entry["target_fps"]) <= 1e-6 * entry["target_fps"]
    case.check_value(
        f"{name}.target_fps", got.fps if not close else entry["target_fps"], entry["target_fps"]
    )


HANDLERS = {"wan.conditioning": conditioning}
