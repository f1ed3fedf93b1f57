"""Opening files, folders and sharded checkpoints; names inside files are not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from wan_core.contract.errors import WeightsError
from wan_core.weights import open_weights

INDEX = "model.safetensors.index.json"


def shard(folder: Path, name: str, **tensors: float) -> None:
    save_file({key: torch.full((2,), value) for key, value in tensors.items()}, folder / name)


def index(folder: Path, weight_map: Any, **more: Any) -> Path:
    path = folder / INDEX
    path.write_text(json.dumps({"weight_map": weight_map, **more}))
    return path


def test_a_single_file(tmp_path: Path) -> None:
    shard(tmp_path, "x.safetensors", a=1.0)
    source = open_weights(tmp_path / "x.safetensors")
    assert source.names() == ("a",)
    assert source.label == "x.safetensors"
    assert source.nbytes == 8
    assert torch.equal(source.get("a"), torch.ones(2))
    half = source.get("a", "cpu", torch.float16)
    assert half.dtype is torch.float16
    with pytest.raises(KeyError):
        source.get("b")


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    shard(tmp_path, "m-00001-of-00002.safetensors", a=1.0, b=2.0)
    shard(tmp_path, "m-00002-of-00002.safetensors", c=3.0)
    where = {"a": "m-00001-of-00002.safetensors", "b": "m-00001-of-00002.safetensors"}
    where["c"] = "m-00002-of-00002.safetensors"
    path = index(tmp_path, where, metadata={"total_size": 24})
    for given in (path, tmp_path):
        source = open_weights(given)
        assert source.names() == ("a", "b", "c")
        assert [source.get(name)[0].item() for name in source.names()] == [1.0, 2.0, 3.0]
        assert [file.name for file in source.files] == sorted(set(where.values()))
        assert source.metadata == {"total_size": "24"}
        assert source.nbytes == 24


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/passwd",
        "sub/x.safetensors",
        "sub\\x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "..",
        ".",
        "",
        "x.safetensors\x00",
        "x\n.safetensors",
    ],
)
def test_a_shard_must_be_a_plain_file_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path, folder, folder / "sub"):
        shard(place, "x.safetensors", a=1.0)
    with pytest.raises(WeightsError, match="no plain file name"):
        open_weights(index(folder, {"a": name}))


def test_shards_may_be_links_as_in_the_hub_cache(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    shard(tmp_path / "blobs", "4d7a", a=5.0)
    (tmp_path / "snapshot" / "m.safetensors").symlink_to(tmp_path / "blobs" / "4d7a")
    source = open_weights(index(tmp_path / "snapshot", {"a": "m.safetensors"}))
    assert source.get("a")[0].item() == 5.0


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r'"m-2\.safetensors" is missing'):
        open_weights(index(tmp_path, {"a": "m-2.safetensors"}))


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    shard(tmp_path, "m-1.safetensors", a=1.0)
    shard(tmp_path, "m-2.safetensors", a=2.0, b=3.0)
    with pytest.raises(WeightsError, match=r"'a' is in two shards, m-1\.safetensors and m-2"):
        open_weights(index(tmp_path, {"a": "m-1.safetensors", "b": "m-2.safetensors"}))


def test_a_tensor_that_its_shard_lacks_is_named(tmp_path: Path) -> None:
    shard(tmp_path, "m-1.safetensors", a=1.0)
    with pytest.raises(WeightsError, match=r"'b' is in m-1.safetensors, but it isn't"):
        open_weights(index(tmp_path, {"a": "m-1.safetensors", "b": "m-1.safetensors"}))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": "x", "a": "y"}}',
        '{"weight_map": {"a": "x"}, "metadata": 3}',
        "[" * 100_000,
    ],
)
def test_a_broken_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(WeightsError, match="no index"):
        open_weights(tmp_path / INDEX)


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    torch.save({"a": torch.ones(2)}, tmp_path / "Wan2.1_VAE.pth")
    assert open_weights(tmp_path).label == "Wan2.1_VAE.pth"
    shard(tmp_path, "diffusion_pytorch_model.safetensors", a=1.0)
    assert open_weights(tmp_path).label == "diffusion_pytorch_model.safetensors"
    (tmp_path / "._diffusion_pytorch_model.safetensors").write_bytes(b"\0\5\x16\7")  # a Mac's
    assert open_weights(tmp_path).label == "diffusion_pytorch_model.safetensors"
    shard(tmp_path, "other.safetensors", a=1.0)
    with pytest.raises(WeightsError, match="several checkpoints: diffusion_pytorch_model"):
        open_weights(tmp_path)


def test_a_folder_of_folders_names_them(tmp_path: Path) -> None:
    for name in ("transformer", "vae", "scheduler"):
        (tmp_path / name).mkdir()
    shard(tmp_path / "transformer", "a.safetensors", a=1.0)
    shard(tmp_path / "vae", "a.safetensors", a=1.0)
    with pytest.raises(WeightsError, match="but its folders have: transformer, vae; name one"):
        open_weights(tmp_path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights"):
        open_weights(tmp_path)
    with pytest.raises(WeightsError, match="no such weight file"):
        open_weights(tmp_path / "x.safetensors")


def test_content_counts_more_than_the_name(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.weights")
    assert open_weights(tmp_path / "x.weights").names() == ("a",)
    shard(tmp_path, "y.pth", a=1.0)
    assert open_weights(tmp_path / "y.pth").names() == ("a",)
    (tmp_path / "z.gguf").write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(WeightsError, match="GGUF"):
        open_weights(tmp_path / "z.gguf")


def test_a_file_that_changes_after_opening(tmp_path: Path) -> None:
    shard(tmp_path, "x.safetensors", a=1.0)
    source = open_weights(tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"gone")
    with pytest.raises(WeightsError, match="'a' cannot be read"):
        source.get("a")
