"""GGUF headers that tell the truth are read; those that lie are refused before memory is taken."""

from __future__ import annotations

import struct
import tempfile
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from header_files import entry, record, text, write_gguf
from hypothesis import given
from hypothesis import strategies as st

from wan_core.contract.errors import WeightsError
from wan_core.weights import open_weights
from wan_core.weights.gguf_header import read_gguf_header


def start(tensors: int, entries: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def values(kind: int, count: int, items: bytes = b"", key: str = "k") -> bytes:
    """A metadata entry that is a list."""
    return text(key) + struct.pack("<IIQ", 9, kind, count) + items


def test_shapes_types_and_offsets(tmp_path: Path) -> None:
    shapes = {"a.weight": (4, 64), "b": (3,), "c": (5, 2, 1, 2, 2), "d": (2, 256)}
    types = {"a.weight": "Q8_0", "b": "F32", "c": "F16", "d": "Q6_K"}
    path = write_gguf(tmp_path / "x.gguf", shapes, types, {"general.file_type": 7, "note": "hi"})
    header = read_gguf_header(path)
    assert {n: (i.dtype, i.shape, i.nbytes) for n, i in header.tensors.items()} == {
        "a.weight": ("Q8_0", (4, 64), 4 * 2 * 34),
        "b": ("F32", (3,), 12),
        "c": ("F16", (5, 2, 1, 2, 2), 80),
        "d": ("Q6_K", (2, 256), 2 * 210),
    }
    assert header.metadata == {"general.architecture": "wan", "general.file_type": 7, "note": "hi"}
    assert header.offsets["b"] - header.offsets["a.weight"] == 288
    assert header.offsets["a.weight"] % 32 == 0
    source = open_weights(path)
    assert source.metadata["general.file_type"] == "7"
    assert (source.nbytes, source.container) == (272 + 12 + 80 + 420, "GGUF")


def test_the_original_shape_of_a_tensor_with_five_axes(tmp_path: Path) -> None:
    key = "comfy.gguf.orig_shape.patch_embedding.weight"
    shapes = {"patch_embedding.weight": (5120, 16 * 4)}
    path = write_gguf(tmp_path / "x.gguf", shapes, "F16", {key: [5120, 16, 1, 2, 2]})
    header = read_gguf_header(path)
    assert header.tensors["patch_embedding.weight"].shape == (5120, 16, 1, 2, 2)
    assert key not in header.metadata
    with pytest.raises(WeightsError, match="original shape"):
        read_gguf_header(write_gguf(path, shapes, "F16", {key: [5120, 16, 1, 2, 3]}))


def test_numbers_are_views_of_the_file_and_blocks_come_as_bytes(tmp_path: Path) -> None:
    shapes = {"plain": (2, 3), "blocks": (2, 64), "odd": (2, 256)}
    path = write_gguf(tmp_path / "x.gguf", shapes, {"blocks": "Q8_0", "odd": "IQ2_S"})
    start = open_weights(path).offsets["plain"]  # type: ignore[attr-defined]
    with path.open("r+b") as file:
        file.seek(start)
        file.write(struct.pack("<6e", *range(6)))
    source = open_weights(path)
    plain = source.get("plain")
    assert plain.dtype is torch.float16
    assert plain.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert source.raw("plain") == struct.pack("<6e", *range(6))
    plain.fill_(7)  # reaches no file
    assert open_weights(path).get("plain", dtype=torch.float32).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert source.get("blocks").shape == (2, 68)
    assert source.get("blocks", dtype=torch.bfloat16).tolist() == [[0.0] * 64] * 2
    with pytest.raises(WeightsError, match="'odd' is of the type IQ2_S, which is not read"):
        source.get("odd", dtype=torch.float32)
    with pytest.raises(KeyError):
        source.get("b")


def test_a_file_that_became_shorter(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf", {"a": (64,)})
    source = open_weights(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="has become shorter; download it again"):
        source.raw("a")
    with pytest.raises(WeightsError, match="has become shorter; download it again"):
        source.get("a")


def test_a_tokenizer_inside_is_passed_over(tmp_path: Path) -> None:
    words = b"".join(text(f"word{i}") for i in range(50_000))
    head = start(1, 3) + values(8, 50_000, words, "tokens")
    head += values(6, 200_000, bytes(800_000), "scores") + entry("last", "kept")
    head += record("a", (2,), 0, 0)
    path = tmp_path / "x.gguf"
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(8))
    tracemalloc.start()
    header = read_gguf_header(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.metadata == {"last": "kept"}
    assert header.tensors["a"].shape == (2,)
    assert peak < 3e6


ONE = start(1, 0)
BAD: list[tuple[str, bytes, str]] = [
    ("no more than the mark", b"GGUF", "cut short"),
    ("version 1", start(0, 0, 1), "of version 1; versions 2 and 3"),
    ("version 4", start(0, 0, 4), "of version 4"),
    ("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is big-endian"),
    ("2^60 tensors", start(2**60, 0) + bytes(100), f"{2**60} tensors"),
    ("2^60 entries", start(0, 2**60) + bytes(100), f"{2**60} metadata entries"),
    ("a million tensors in a small file", start(10**6, 0), "1000000 tensors"),
    ("a key of 2^62 letters", start(0, 1) + struct.pack("<Q", 2**62) + bytes(99), "letters in a"),
    (
        "a text of 2^62 letters",
        start(0, 1) + text("k") + struct.pack("<IQ", 8, 2**62) + bytes(9),
        "letters",
    ),
    ("a list of 2^61 numbers", start(0, 1) + values(5, 2**61), "items in 'k'"),
    ("a list of 2^61 texts", start(0, 1) + values(8, 2**61), "items in 'k'"),
    (
        "a list with a text of 2^63 letters",
        start(0, 1) + values(8, 1, struct.pack("<Q", 2**63) + bytes(99)),
        "letters in a text of 'k'",
    ),
    ("a list of lists", start(0, 1) + values(9, 1, struct.pack("<IQ", 9, 1) * 99), "holds lists"),
    ("a list of an unknown type", start(0, 1) + values(77, 1, bytes(8)), "unknown type 77"),
    ("a value of an unknown type", start(0, 1) + text("k") + struct.pack("<I", 55), "type 55"),
    ("a key twice", start(0, 2) + entry("k", 1) * 2, "stands twice"),
    ("a key that is no text", start(0, 1) + text(b"\xff\xfe") + bytes(9), "is no text"),
    ("a tensor twice", start(2, 0) + record("a", (2,), 0, 0) + record("a", (2,), 0, 32), "twice"),
    ("2^31 axes", ONE + text("a") + struct.pack("<I", 2**31) + bytes(40), "axes"),
    ("impossible sizes", ONE + record("a", (2**40, 2**40), 0, 0), "impossible"),
    ("half a block", ONE + record("a", (4, 33), 8, 0), "impossible"),
    ("an unknown type", ONE + record("a", (4, 32), 99, 0), "unknown type 99"),
    ("an offset beyond the file", ONE + record("a", (2,), 0, 2**62), "cut short"),
    ("an offset that is not aligned", ONE + record("a", (2,), 0, 7) + bytes(99), "not aligned"),
    (
        "overlapping tensors",
        start(2, 0) + record("a", (64,), 0, 0) + record("b", (64,), 0, 32) + bytes(999),
        "overlap",
    ),
    ("more data than there are", ONE + record("a", (10**9,), 0, 0), "cut short"),
    ("an alignment of 0", start(0, 1) + entry("general.alignment", 0), "alignment"),
    ("an alignment of 48", start(0, 1) + entry("general.alignment", 48), "alignment"),
    ("a text for an alignment", start(0, 1) + entry("general.alignment", "x"), "alignment"),
    ("cut in a record", ONE + record("a", (2,), 0, 0)[:-8] + b"1234567", "cut short"),
]


@pytest.mark.parametrize(("content", "says"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_lies_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=says) as caught:
            open_weights(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3e6
    assert len(str(caught.value)) < 400
    assert "bad.gguf" in str(caught.value)


@given(st.binary(max_size=120), st.integers(0, 3), st.integers(0, 3))
def test_random_bytes_give_a_weights_error_or_a_header(data: bytes, many: int, keys: int) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(WeightsError):
        path = Path(folder) / "x.gguf"
        path.write_bytes(start(many, keys) + data)
        read_gguf_header(path)
