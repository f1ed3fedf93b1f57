"""Fingerprints follow the content, not the file, and read only a little of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from wan_core.weights import fingerprint, open_weights, strip_prefixes


def tensors() -> dict[str, Tensor]:
    return {"a": torch.arange(100_000.0), "b": torch.ones(7)}


def test_a_copy_has_the_same_fingerprint(tmp_path: Path) -> None:
    save_file(tensors(), tmp_path / "x.safetensors")
    shutil.copy(tmp_path / "x.safetensors", tmp_path / "y.safetensors")
    first = fingerprint(tmp_path / "x.safetensors")
    assert first == fingerprint(str(tmp_path / "y.safetensors"))
    assert first == fingerprint(strip_prefixes(open_weights(tmp_path / "x.safetensors")))
    assert len(first) == 64


@pytest.mark.parametrize("save", ["safetensors", "pth"])
@pytest.mark.parametrize(
    "change",
    [
        {"b": torch.full((7,), 1.0001)},
        {"a": torch.arange(100_000.0) * (1 + 2**-20)},
        {"c": torch.zeros(1)},
        {"b": torch.ones(7, dtype=torch.int32)},
    ],
)
def test_other_weights_have_another(tmp_path: Path, save: str, change: dict[str, Tensor]) -> None:
    write = save_file if save == "safetensors" else torch.save
    paths = [tmp_path / f"{i}.{save}" for i in range(2)]
    write(tensors(), paths[0])
    write(tensors() | change, paths[1])
    assert fingerprint(paths[0]) != fingerprint(paths[1])


def test_a_single_number_of_a_pth_counts(tmp_path: Path) -> None:
    for name, place in (("x.pth", 0), ("y.pth", 77_777)):
        large = torch.zeros(3_000_000)
        large[place] = 1
        torch.save({"a": large}, tmp_path / name)
    assert fingerprint(tmp_path / "x.pth") != fingerprint(tmp_path / "y.pth")


def test_every_shard_counts(tmp_path: Path) -> None:
    for folder, value in (("one", 1.0), ("two", 2.0)):
        (tmp_path / folder).mkdir()
        save_file({"a": torch.ones(3)}, tmp_path / folder / "1.safetensors")
        save_file({"b": torch.full((3,), value)}, tmp_path / folder / "2.safetensors")
        index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
        (tmp_path / folder / "m.safetensors.index.json").write_text(json.dumps(index))
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "two")


def test_a_large_file_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    count = 10**10
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}
    ).encode()
    with path.open("wb") as file:  # a sparse file of 40 GB
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * count)
    assert len(fingerprint(path)) == 64
