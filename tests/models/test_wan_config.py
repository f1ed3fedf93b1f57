"""Sizes from tensors, and tensors from sizes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from wan_core.contract.errors import WeightsError
from wan_core.models.wan import WanConfig, WanTransformer

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"
PUBLISHED = {
    "wan2.1-t2v-1.3b": {"dim": 1536, "num_heads": 12, "num_layers": 30, "in_dim": 16},
    "wan2.1-t2v-14b": {"dim": 5120, "num_heads": 40, "num_layers": 40, "image_dim": None},
    "unilumos-1.3b": {"dim": 1536, "in_dim": 48, "out_dim": 16, "image_dim": None},
    "wan2.1-i2v-14b": {"in_dim": 36, "image_dim": 1280, "image_positions": None},
    "wan2.1-flf2v-14b": {"in_dim": 36, "image_dim": 1280, "image_positions": 514},
    "wan2.1-vace-1.3b": {"vace_layers": tuple(range(0, 30, 2)), "vace_in_dim": 96},
    "wan2.1-vace-14b": {"vace_layers": tuple(range(0, 40, 5)), "vace_in_dim": 96},
    "wan2.2-t2v-a14b": {"dim": 5120, "in_dim": 16, "out_dim": 16},
    "wan2.2-i2v-a14b": {"dim": 5120, "in_dim": 36, "image_dim": None},
    "wan2.2-ti2v-5b": {"dim": 3072, "ffn_dim": 14336, "in_dim": 48, "out_dim": 48},
}


def manifest(name: str) -> dict[str, list[int]]:
    loaded: dict[str, list[int]] = json.loads(
        gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes())
    )
    return loaded


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_model_has_exactly_its_tensors(name: str) -> None:
    shapes = manifest(name)
    config = WanConfig.from_shapes(shapes)
    for field, value in PUBLISHED[name].items():
        assert getattr(config, field) == value
    with torch.device("meta"):
        transformer = WanTransformer(config)
    built = {key: list(tensor.shape) for key, tensor in transformer.state_dict().items()}
    assert built == shapes


def test_heads_must_be_stated_for_other_widths() -> None:
    with torch.device("meta"):
        shapes = WanTransformer(WanConfig(40, 64, 2, 1)).state_dict()
    sizes = {name: tuple(tensor.shape) for name, tensor in shapes.items()}
    with pytest.raises(WeightsError, match="num_heads"):
        WanConfig.from_shapes(sizes)
    assert WanConfig.from_shapes(sizes, num_heads=2) == WanConfig(40, 64, 2, 1)


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(WeightsError, match="not the weights of a Wan transformer"):
        WanConfig.from_shapes({"vace_blocks.0.after_proj.weight": (40, 40)})


def test_vace_layers_may_be_stated_but_must_fit() -> None:
    with torch.device("meta"):
        built = WanTransformer(WanConfig(128, 64, 1, 5, vace_layers=(1, 4), vace_in_dim=8))
    sizes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    assert WanConfig.from_shapes(sizes).vace_layers == (0, 3)
    assert WanConfig.from_shapes(sizes, vace_layers=[1, 4]) == built.config
    with pytest.raises(WeightsError, match="2 VACE blocks"):
        WanConfig.from_shapes(sizes, vace_layers=[1])


@pytest.mark.parametrize("sizes", [(50, 64, 4, 1), (36, 64, 4, 1)])
def test_impossible_heads(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="heads"):
        WanConfig(*sizes)


def sizes_of(config: WanConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {n: tuple(t.shape) for n, t in WanTransformer(config).state_dict().items()}


def test_sizes_that_do_not_fit_are_an_error_of_the_file() -> None:
    sizes = sizes_of(WanConfig(40, 64, 2, 1, freq_dim=16))
    with pytest.raises(WeightsError, match=r"^my\.pth: 3 heads of even width"):
        WanConfig.from_shapes(sizes, num_heads=3, where="my.pth")
    for name, shape in (
        ("patch_embedding.weight", (40,)),
        ("time_embedding.0.weight", (40,)),
        ("time_embedding.0.weight", (40, 15)),
    ):
        with pytest.raises(WeightsError, match=r"^my\.pth: "):
            WanConfig.from_shapes(sizes | {name: shape}, num_heads=2, where="my.pth")
    with pytest.raises(WeightsError, match="only 2 are there"):
        WanConfig.from_shapes(sizes | {"blocks.999999999.modulation": (1, 6, 40)}, num_heads=2)
