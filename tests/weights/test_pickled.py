"""Pickled checkpoints: tensors are read, code is never run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from wan_core.contract.errors import WeightsError
from wan_core.weights import open_weights

WITNESS: list[str] = []


class Hostile:
    def __reduce__(self) -> Any:
        return (WITNESS.append, ("code ran",))


class Opens:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "code ran"))


def test_a_state_dict(tmp_path: Path) -> None:
    stored = {"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.bfloat16)}
    torch.save(stored, tmp_path / "x.pth")
    source = open_weights(tmp_path / "x.pth")
    assert source.names() == ("a", "b")
    assert (source.dtype("b"), source.shape("b"), source.nbytes) == ("BF16", (2, 2), 20)
    assert torch.equal(source.get("a", dtype=torch.float16), torch.arange(3.0).half())


@pytest.mark.parametrize("keys", [["state_dict"], ["model"], ["generator"], ["model", "module"]])
def test_wrapping_keys(tmp_path: Path, keys: list[str]) -> None:
    content: Any = {"a": torch.ones(2)}
    for key in reversed(keys):
        content = {key: content, "epoch": 3}
    torch.save(content, tmp_path / "x.ckpt")
    assert open_weights(tmp_path / "x.ckpt").names() == ("a",)


def test_a_dict_that_contains_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"a": torch.ones(2)}
    content["model"] = content
    torch.save(content, tmp_path / "x.pth")
    assert open_weights(tmp_path / "x.pth").names() == ("a",)


def test_what_is_no_tensor_becomes_metadata_or_is_left_out(tmp_path: Path) -> None:
    content = {"a": torch.ones(2), "step": 7, "note": "hi", "optimizer": {"m": [1]}, 3: 4}
    torch.save(content, tmp_path / "x.pth")
    source = open_weights(tmp_path / "x.pth")
    assert source.names() == ("a",)
    assert source.metadata == {"step": "7", "note": "hi"}


@pytest.mark.parametrize("content", [[torch.ones(2)], torch.ones(2), {"a": 1}, {}, "text", None])
def test_files_without_named_tensors(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="no named tensors"):
        open_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_does_not_run(tmp_path: Path, zipped: bool) -> None:
    path, witness = tmp_path / "x.pth", tmp_path / "witness"
    torch.save(
        {"a": torch.ones(2), "b": Opens(witness)}, path, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(WeightsError, match="is refused; use a safetensors version") as caught:
        open_weights(path)
    assert not witness.exists()
    assert str(caught.value).count(". ") == 0  # one sentence


def test_a_bare_pickle_with_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_bytes(pickle.dumps({"a": Hostile()}, protocol=2))
    with pytest.raises(WeightsError, match="refused"):
        open_weights(tmp_path / "x.ckpt")
    assert not WITNESS


@pytest.mark.parametrize("keep", [10, 100, 400])
def test_a_truncated_archive(tmp_path: Path, keep: int) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes((tmp_path / "x.pth").read_bytes()[:keep])
    with pytest.raises(WeightsError, match="download it again"):
        open_weights(tmp_path / "x.pth")


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="unsupported kind"):
        open_weights(tmp_path / "x.pth")


def test_files_of_before_torch_1_6(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(open_weights(tmp_path / "x.pth").get("a"), torch.ones(2))


def test_shapes_without_numbers_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.empty(3, device="meta")}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="shapes of its tensors only"):
        open_weights(tmp_path / "x.pth")
