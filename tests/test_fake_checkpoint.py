"""Files of random weights: recognised, read, and of a sane size in every precision and dialect."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fake_checkpoint import (
    DIALECTS,
    GGUF,
    MANIFESTS,
    PRECISIONS,
    in_dialect,
    main,
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


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_two_tensors_have_one_name(dialect: str) -> None:
    """Encoders and VAEs come in other dialects than transformers; mappings of names are no checkpoints."""
    refused = set()
    for path in MANIFESTS.glob("*.json.gz"):
        name = path.name.removesuffix(".json.gz")
        try:
            shapes = names_of(name)
        except ValueError as error:
            assert "-to-" in name
            assert "there are bigvgan" in str(error)
            continue
        assert all(isinstance(size, int) for shape in shapes.values() for size in shape)
        try:
            named = in_dialect(shapes, dialect)
        except ValueError as error:
            refused.add(name)
            assert f"does not come in the dialect '{dialect}'" in str(error)
        else:
            assert list(named.values()) == list(shapes.values())
            assert "None" not in named
    wan = {"wan2.1-t2v-14b", "wan2.1-i2v-14b", "wan2.2-ti2v-5b", "wan2.1-vace-14b"}
    assert not refused & wan
    others = {"umt5-xxl-encoder", "umt5-xxl-encoder.hf", "wan2.1-vae", "wan2.1-vae.diffusers"}
    assert refused & others == (set() if dialect == "official" else others)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing", "x.safetensors"), "there is no manifest 'nothing'; there are"),
        (("taew2_1", "x.safetensors", "--dialect", "diffusers"), "leave --dialect out"),
        (
            ("taew2_1", "nowhere/x.safetensors"),
            "No such file or directory: 'nowhere/x.safetensors'",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fake_checkpoint.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
