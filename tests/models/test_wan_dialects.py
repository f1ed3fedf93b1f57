"""How files name the tensors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from wan_samples import random_transformer

from wan_core.models.wan.dialects import DIALECTS, DIFFUSERS, OFFICIAL
from wan_core.weights.dialects import detect

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"
NAMES = ("wan2.1-t2v-1.3b", "wan2.1-flf2v-14b", "wan2.1-vace-14b")


@pytest.mark.parametrize("name", NAMES)
def test_every_published_tensor_goes_there_and_back(name: str) -> None:
    official = set(json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes())))
    renamed = {DIFFUSERS.from_official(key): key for key in official}
    assert len(renamed) == len(official) and None not in renamed
    for theirs, ours in renamed.items():
        assert theirs is not None and DIFFUSERS.to_official(theirs) == ours
        assert OFFICIAL.to_official(ours) == OFFICIAL.from_official(ours) == ours
    assert detect(official, DIALECTS) is OFFICIAL
    assert detect({str(key) for key in renamed}, DIALECTS) is DIFFUSERS


@pytest.mark.parametrize(
    ("official", "diffusers"),
    [
        ("head.modulation", "scale_shift_table"),
        ("blocks.7.modulation", "blocks.7.scale_shift_table"),
        ("vace_blocks.1.modulation", "vace_blocks.1.scale_shift_table"),
        ("head.head.weight", "proj_out.weight"),
        ("vace_blocks.0.after_proj.weight", "vace_blocks.0.proj_out.weight"),
        ("vace_blocks.0.before_proj.bias", "vace_blocks.0.proj_in.bias"),
        ("blocks.7.norm3.weight", "blocks.7.norm2.weight"),
        ("img_emb.proj.4.weight", "condition_embedder.image_embedder.norm2.weight"),
        ("blocks.0.cross_attn.k_img.weight", "blocks.0.attn2.add_k_proj.weight"),
        ("blocks.0.self_attn.k.weight", "blocks.0.attn1.to_k.weight"),
        ("blocks.0.self_attn.o.weight", "blocks.0.attn1.to_out.0.weight"),
    ],
)
def test_names_that_look_alike(official: str, diffusers: str) -> None:
    assert DIFFUSERS.from_official(official) == diffusers
    assert DIFFUSERS.to_official(diffusers) == official


def test_unknown_names_are_not_invented() -> None:
    for dialect in DIALECTS:
        assert dialect.to_official("blocks.0.audio_attn.q.weight") is None
    assert DIFFUSERS.to_official("blocks.0.norm3.weight") is None  # has no parameters there


def test_a_model_without_its_neighbours_is_not_detected() -> None:
    names = {name for name in random_transformer().state_dict() if name.startswith("blocks.")}
    assert detect(names, DIALECTS) is None
