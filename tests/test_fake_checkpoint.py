"""Files of random weights: recognised, read, and of a sane size in every precision and dialect."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fake_checkpoint import (
    DIALECTS,
    GGUF,
    PRECISIONS,
    names_of,
    write_gguf,
    write_safetensors,
)
from wan_core.models.wan import WanConfig
from wan_core.models.wan.dialects import DIALECTS as KNOWN
from wan_core.models.wan.files import expected_shapes
from wan_core.weights import identify, in_official_names, open_weights
from wan_core.weights.numbers import unpacked

# the widths of 1.3 B tell what the file is; one layer of a narrow feed-forward is enough
CONFIG = WanConfig(dim=128, ffn_dim=256, num_heads=1, num_layers=2, text_dim=64)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_random_weights(precision: str, dialect: str, tmp_path: Path) -> None:
    shapes = expected_shapes(CONFIG)
    path = tmp_path / ("file.gguf" if precision in GGUF else "file.safetensors")
    write = write_gguf if precision in GGUF else write_safetensors
    assert write(path, shapes, precision, dialect) == path.stat().st_size
    assert identify(open_weights(path)).component == "wan-transformer"
    source = unpacked(in_official_names(open_weights(path), KNOWN))
    assert {name: info.shape for name, info in source.tensors.items()} == dict(shapes)
    weight = source.get("blocks.1.ffn.0.weight").float()
    assert 0.005 < float(weight.std()) < 0.05
    assert bool(weight.isfinite().all())


def test_names_come_from_the_manifests() -> None:
    shapes = names_of("wan2.1-t2v-14b")
    assert len(shapes) == 1095
    assert shapes["blocks.39.ffn.0.weight"] == (13824, 5120)
