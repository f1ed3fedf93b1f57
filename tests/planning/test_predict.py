"""Predicted bytes against what the networks hold, from shapes at full size; and the phases of every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from live_bytes import LiveBytes, fused_attention

from wan_core.models.encoders import ClipConfig, ClipVision
from wan_core.models.encoders.clip import build_clip
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.planning.predict import clip_activations, transformer_activations

VIT_H = ClipConfig(224, 14, 1280, 5120, 16, 32)
WIDTHS: dict[str, Any] = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 3}


@pytest.mark.parametrize("item", [2, 4])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"in_dim": 36, "image_dim": 1280},
        {"vace_layers": (0, 2), "vace_in_dim": 96},
        {"in_dim": 48, "out_dim": 48, "ffn_dim": 2048},
    ],
    ids=["t2v", "i2v", "vace", "narrow feed-forward"],
)
def test_bytes_of_a_forward_pass(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], item: int
) -> None:
    config = WanConfig(**{**WIDTHS, **more})
    dtype = {2: torch.bfloat16, 4: torch.float32}[item]
    frames, height, width = 9, 60, 104
    told: dict[str, Any] = {}
    with torch.device("meta"), torch.no_grad(), fused_attention(monkeypatch):
        transformer = WanTransformer(config).to(dtype)
        latents = torch.empty(1, config.in_dim, frames, height, width)
        text = torch.empty(1, 200, 4096, dtype=dtype)
        given = [latents, text]
        if config.image_dim:
            told["image_tokens"] = torch.empty(1, 257, config.image_dim, dtype=dtype)
            given.append(told["image_tokens"])
        if config.vace_layers:
            context = torch.empty(1, 96, frames, height, width)
            told["add_ons"] = {"vace": {"context": context}}
            given.append(context)
        with LiveBytes([*given, *transformer.parameters()]) as live:
            transformer(latents, torch.empty(1), text, **told)
    count = frames * height * width // 4
    rows = 257 if config.image_dim else 0
    predicted = transformer_activations(config, count, item, image_rows=rows)
    assert predicted == pytest.approx(live.peak, rel=0.02)


@pytest.mark.parametrize("item", [2, 4])
@pytest.mark.parametrize("pictures", [1, 2])
def test_bytes_of_image_tokens(monkeypatch: pytest.MonkeyPatch, pictures: int, item: int) -> None:
    dtype = {2: torch.bfloat16, 4: torch.float32}[item]
    with torch.device("meta"), fused_attention(monkeypatch):
        clip = ClipVision(build_clip(VIT_H).to(dtype), VIT_H)
        clip.model.embeddings.position_ids = torch.arange(257)[None]
        weights = [*clip.model.parameters(), clip.model.embeddings.position_ids]
        with LiveBytes(weights) as live:
            clip.encode(torch.empty(pictures, 3, 224, 224))
    predicted = clip_activations(VIT_H, pictures, item)
    assert predicted == pytest.approx(live.peak, rel=0.02)
