"""Prefixes of wrappers and packers come off; several components in one file are kept apart."""

from __future__ import annotations

import pytest
import torch

from wan_core.contract.errors import WeightsError
from wan_core.weights import StateDict, strip_prefixes


def source(*names: str) -> StateDict:
    return StateDict({name: torch.full((1,), float(i)) for i, name in enumerate(names)}, "x.pth")


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "model.diffusion_model.",
        "diffusion_model.",
        "model.",
        "net.",
        "dit.",
        "pipe.dit.",
        "module.",
        "_orig_mod.",
        "vae.",
        "first_stage_model.",
        "module._orig_mod.",
        "model.module.",
    ],
)
def test_prefixes_of_the_whole_file(prefix: str) -> None:
    stripped = strip_prefixes(source(prefix + "blocks.0.a", prefix + "head.b"))
    assert stripped.names() == ("blocks.0.a", "head.b")
    assert stripped.get("head.b").item() == 1.0


def test_a_prefix_of_some_names_stays() -> None:
    assert strip_prefixes(source("model.a", "b")).names() == ("model.a", "b")


def test_compiled_blocks() -> None:
    stripped = strip_prefixes(source("blocks.0._orig_mod.a", "blocks.1._orig_mod.a", "head.b"))
    assert stripped.names() == ("blocks.0.a", "blocks.1.a", "head.b")


def test_markers_are_left_out_and_do_not_hide_a_prefix() -> None:
    names = ["model_type.Wan2_1-FLF2V-14B-720P", "scaled_fp8", "model.a", "model.scaled_fp8"]
    assert strip_prefixes(source(*names)).names() == ("a",)


def test_one_component_out_of_several() -> None:
    everything = source("model.diffusion_model.a", "vae.a", "text_encoders.umt5xxl.a")
    transformer = strip_prefixes(everything, "wan-transformer")
    assert (transformer.names(), transformer.get("a").item()) == (("a",), 0.0)
    vae = strip_prefixes(everything, "wan-vae")
    assert (vae.names(), vae.get("a").item()) == (("a",), 1.0)
    assert len(strip_prefixes(everything).names()) == 3


def test_two_names_that_become_one() -> None:
    with pytest.raises(WeightsError, match="one tensor"):
        strip_prefixes(source("blocks.0.a", "blocks._orig_mod.0.a"))
