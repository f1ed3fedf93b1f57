"""Safetensors files that are written here: other programs read them, and they are whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from wan_core.contract.errors import WanCoreError
from wan_core.weights import StateDict, read_header, writing
from wan_core.weights.writing import check_weights_target, write_safetensors

HELD = {
    "bytes": torch.arange(5, dtype=torch.uint8),
    "scalar": torch.tensor(3.5),
    "half": torch.arange(6).view(2, 3).bfloat16(),
    "eight": torch.arange(7.0).to(torch.float8_e4m3fn),
    "empty": torch.empty(0, 3),
    "turned": torch.arange(6.0).view(2, 3).t(),
}
INFOS = StateDict(HELD).tensors


def test_others_read_it(tmp_path: Path) -> None:
    path, told = tmp_path / "new" / "m.safetensors", []
    said = {"format": "pt", "umlaut": "ä"}
    at = write_safetensors(path, INFOS, reversed(HELD.items()), said, on_bytes=told.append)
    assert at == path
    with safe_open(str(path), framework="pt") as file:
        assert file.metadata() == said
        for name, tensor in HELD.items():
            assert torch.equal(file.get_tensor(name).float(), tensor.float()), name
    offsets = read_header(path).offsets
    assert offsets["scalar"] % 8 == 0
    assert offsets["half"] % 2 == 0
    assert told[-1] == sum(info.nbytes for info in INFOS.values())


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_text("before")

    def failing() -> Iterator[tuple[str, Tensor]]:
        yield "bytes", HELD["bytes"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_safetensors(path, INFOS, failing(), {}, overwrite=True)
    assert [one.name for one in tmp_path.iterdir()] == ["m.safetensors"]
    assert path.read_text() == "before"


@pytest.mark.parametrize(
    "held", [{}, {**HELD, "more": torch.ones(1)}, {**HELD, "bytes": torch.ones(5)}]
)
def test_tensors_that_were_not_announced(tmp_path: Path, held: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"not announced|missing"):
        write_safetensors(tmp_path / "m.safetensors", INFOS, held.items(), {})
    assert not list(tmp_path.iterdir())


def test_what_has_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"

    def late() -> Iterator[tuple[str, Tensor]]:
        path.write_text("mine")
        yield from HELD.items()

    assert write_safetensors(path, INFOS, late(), {}) == tmp_path / "m-2.safetensors"
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "overwrite", "says"),
    [
        ("m.gguf", False, "weights are written as safetensors; use a name with .safetensors"),
        ("folder", False, "this is a folder; name a file"),
        ("there.safetensors", False, "the file exists already; use another name, or --overwrite"),
        ("original.safetensors", True, "this is the file that is read; use another name"),
        ("link.safetensors", True, "this is the file that is read"),
        ("x" * 300 + ".safetensors", False, "can't be written"),
    ],
)
def test_targets_that_are_refused(tmp_path: Path, name: str, overwrite: bool, says: str) -> None:
    (tmp_path / "folder").mkdir()
    original = tmp_path / "original.safetensors"
    for one in (original, tmp_path / "there.safetensors"):
        one.touch()
    (tmp_path / "link.safetensors").symlink_to(original)
    with pytest.raises(WanCoreError) as caught:
        check_weights_target(tmp_path / name, 10, sources=[original], overwrite=overwrite)
    assert says in str(caught.value)


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "free_space", lambda path: 10**9)
    check_weights_target(tmp_path / "m.safetensors", 10**9)
    with pytest.raises(WanCoreError, match=r"has 1\.0 GB left, the file needs 2\.0 GB"):
        check_weights_target(tmp_path / "m.safetensors", 2 * 10**9)
