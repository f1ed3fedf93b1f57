"""Outlines: names, types and shapes of published checkpoints, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wan_core.contract.errors import WeightsError
from wan_core.weights import open_weights

ONE = {"blocks.{0-39}.ffn.0.weight": "F32 13824 5120", "head.bias": "BF16 64", "scale": "F16"}


def write(folder: Path, content: object) -> Path:
    path = folder / "x.outline.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_range_stands_for_all_its_numbers(tmp_path: Path) -> None:
    source = open_weights(write(tmp_path, {"tensors": ONE}))
    assert len(source.tensors) == 42
    assert source.shape("blocks.39.ffn.0.weight") == (13824, 5120)
    assert source.shape("scale") == ()
    assert source.nbytes == 40 * 13824 * 5120 * 4 + 64 * 2 + 2


def test_it_has_no_weights(tmp_path: Path) -> None:
    source = open_weights(write(tmp_path, {"tensors": ONE}))
    for read in (source.get, source.raw):
        with pytest.raises(WeightsError, match=r"has no weights; name the file itself"):
            read("head.bias")
        with pytest.raises(KeyError):
            read("tail")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "expecting property name"),
        ('{"tensors": {"a": "F32 1", "a": "F32 1"}}', "a key stands twice"),
        ("[" * 100_000, "nested too deeply"),
        ([], "it has no table tensors"),
        ({"tensors": []}, "it has no table tensors"),
        ({"tensors": {"a": [1]}}, "tensor 'a' has no type and sizes"),
        ({"tensors": {"a": "F33 1"}}, "tensor 'a' has no type and sizes"),
        ({"tensors": {"a": "F32 -1"}}, "tensor 'a' has no type and sizes"),
        ({"tensors": {"a": "F32" + 9 * " 2"}}, "tensor 'a' has no type and sizes"),
        ({"tensors": {"b.{5-1}": "F32 1"}}, r"the name 'b.\{5-1\}' is no range of names"),
        ({"tensors": {"{0-1}.{0-1}": "F32 1"}}, "is no range of names"),
        ({"tensors": {"{0-3}": "F32 1", "2": "F32 1"}}, "tensor '2' stands there twice"),
        ({"tensors": {"{0-99999}": "F32 1", "a": "F32"}}, "more than 100000 tensors"),
        ({"tensors": {"a" * 1001: "F32 1"}}, "longer than 1000 characters"),
        (" " * 2**20 + "{}", "larger than 1 MiB"),
    ],
)
def test_what_is_no_outline(content: object, says: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"x.outline.json.*no outline of a checkpoint.*{says}"):
        open_weights(write(tmp_path, content))
