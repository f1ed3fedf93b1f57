"""Headers that tell the truth are read; headers that lie are refused."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from wan_core.contract.errors import WeightsError
from wan_core.weights import open_weights, read_header


def write(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    count = len(text) if length is None else length
    path.write_bytes(count.to_bytes(8, "little") + text + data)
    return path


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_reads_what_safetensors_writes(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": torch.zeros(3, dtype=torch.bfloat16),
        "c": torch.zeros(0, 4),
        "d": torch.tensor(7),
        "e": torch.zeros(5).to(torch.float8_e4m3fn),
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"made": "here"})
    header = read_header(tmp_path / "x.safetensors")
    assert header.metadata == {"made": "here"}
    assert {n: (i.dtype, i.shape, i.nbytes) for n, i in header.tensors.items()} == {
        "a": ("F32", (2, 3), 24),
        "b": ("BF16", (3,), 6),
        "c": ("F32", (0, 4), 0),
        "d": ("I64", (), 8),
        "e": ("F8_E4M3", (5,), 5),
    }
    begin = header.offsets["a"]
    raw = (tmp_path / "x.safetensors").read_bytes()[begin : begin + 24]
    assert torch.frombuffer(bytearray(raw), dtype=torch.float32).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("header", "data", "says"),
    [
        ({"a": entry([2], 0, 8)}, b"1234567", "cut short"),
        ({"a": entry([2], 0, 8)}, b"123456789", "belong to no tensor"),
        ({"a": entry([2], 4, 12)}, bytes(12), "leave a gap"),
        ({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12), "overlap"),
        ({"a": entry([3], 0, 8)}, bytes(8), "does not fit its shape"),
        ({"a": entry([10**15], 0, 4 * 10**15)}, b"", "cut short"),
        ({"a": entry([2**40] * 17, 0, 8)}, bytes(8), "impossible numbers"),
        ({"a": entry([-1, -2], 0, 8)}, bytes(8), "impossible numbers"),
        ({"a": entry([True, 2], 0, 8)}, bytes(8), "impossible numbers"),
        ({"a": entry([2], 0, 8, "F31")}, bytes(8), "unknown type"),
        ({"a": entry([2], 0, 8, ["F32"])}, bytes(8), "unknown type"),
        ({"a": {"dtype": "F32", "shape": [2]}}, bytes(8), "incomplete"),
        ({"a": 7}, bytes(8), "incomplete"),
        ({"__metadata__": {"a": 1}}, b"", "metadata"),
        ([1, 2], b"", "no table"),
        (b"{nonsense", b"", "no valid JSON"),
        (b"[" * 100_000, b"", "no valid JSON"),
        (b'{"a":1,"a":2}', b"", "twice"),
        (b"\xff\xfe{}", b"", "no valid JSON"),
    ],
)
def test_lies_are_refused(tmp_path: Path, header: Any, data: bytes, says: str) -> None:
    path = write(tmp_path / "bad.safetensors", header, data)
    with pytest.raises(WeightsError, match=says) as caught:
        read_header(path)
    assert "bad.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("length", [10**15, 2**64 - 1, 100_000_001, 57])
def test_an_impossible_header_length_is_refused(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "bad.safetensors", b"{}" + bytes(54), length=length)
    with pytest.raises(WeightsError, match=f"claims {length} bytes"):
        open_weights(path)


def test_a_name_of_a_million_letters_does_not_fill_the_screen(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.safetensors", {"\x1b[31m" + "x" * 10**6: entry([3], 0, 8)})
    with pytest.raises(WeightsError) as caught:
        read_header(path)
    assert len(str(caught.value)) < 300
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 135\n",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html>404</html>", "web page"),
        (b"", "the file is empty"),
        (b"\x08\x00", "cut short"),
    ],
)
def test_downloads_that_went_wrong_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=says):
        open_weights(path)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_random_bytes_give_a_weights_error_or_a_header(data: bytes, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(WeightsError):
        read_header(write(Path(folder) / "x.safetensors", data, length=length))


def test_identifying_a_safetensors_file_does_not_import_torch(tmp_path: Path) -> None:
    save_file({"token_embedding.weight": torch.zeros(8, 4)}, tmp_path / "x.safetensors")
    code = (
        "import sys; from wan_core.weights import open_weights, identify, fingerprint;"
        f"s = open_weights({str(tmp_path / 'x.safetensors')!r}); identify(s); fingerprint(s);"
        "print(s.nbytes, s.shape('token_embedding.weight'), s.dtype('token_embedding.weight'));"
        "print([m for m in ('torch', 'numpy', 'safetensors', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines() == ["128 (8, 4) F32", "[]"]
