"""Whatever a file is in truth: one sentence, little memory, no waiting, no code."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from header_files import write_gguf, write_safetensors

from wan_core.contract.errors import WeightsError
from wan_core.weights import identify, open_weights
from wan_core.weights.archives import MAX_LEGACY_BYTES

MEMORY = 50e6


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    inside = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(inside) if length is None else length).to_bytes(8, "little") + inside + data


def entry(shape: Any, begin: int, end: int, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


class Runs:
    """Pickles as a call of ``os.system``."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch ran-code",))


class Allocates:
    """Pickles as a gigantic byte array, which torch's own reader would make."""

    def __reduce__(self) -> Any:
        return (bytearray, (10**13,))


def archive(records: dict[str, bytes], compressed: bool = False) -> bytes:
    out = io.BytesIO()
    how = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", how) as file:
        for name, content in records.items():
            file.writestr(name, content)
    return out.getvalue()


def saved(content: Any, **how: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **how)
    return out.getvalue()


GOOD_PTH = saved({"a": torch.ones(2)})
OLD_PTH = saved({"a": torch.ones(2)}, _use_new_zipfile_serialization=False)


def lying_directory(count: int, size: int) -> bytes:
    """A zip archive whose end claims a directory of that size."""
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, size, 0, 0)
    return b"PK\x03\x04" + bytes(60) + end


def lying_directory_64(count: int, size: int) -> bytes:
    end = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 4, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return b"PK\x03\x04" + end + locator + last


FILES: list[tuple[str, str, bytes, str]] = [
    ("empty", "x.safetensors", b"", "the file is empty"),
    ("empty pickle", "x.pth", b"", "the file is empty"),
    ("truncated", "x.safetensors", safetensors({"a": entry([2], 0, 8)}, b"12"), "cut short"),
    ("header of 10^15 bytes", "x.safetensors", safetensors(b"{}", length=10**15), "claims"),
    ("duplicate keys", "x.safetensors", safetensors(b'{"a":1,"a":2}'), "twice"),
    (
        "overlapping tensors",
        "x.safetensors",
        safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
        "overlap",
    ),
    ("negative", "x.safetensors", safetensors({"a": entry([-1], -4, 0)}, bytes(4)), "impossible"),
    ("10^5 axes", "x.safetensors", safetensors({"a": entry([1] * 10**5, 0, 4)}), "impossible"),
    ("2^70", "x.safetensors", safetensors({"a": entry([2**70], 0, 2**72)}), "impossible"),
    ("unknown type", "x.safetensors", safetensors({"a": entry([1], 0, 4, "F31")}), "unknown type"),
    ("nested", "x.safetensors", safetensors(b'{"a":' + b"[" * 10**6), "tensors|no valid JSON"),
    ("nested less", "x.safetensors", safetensors(b'{"a":' + b"[" * 10**5), "no valid JSON"),
    ("NaN", "x.safetensors", safetensors(b'{"a":NaN}'), "no whole number"),
    ("infinity", "x.safetensors", safetensors(b'{"a":[-Infinity]}'), "no whole number"),
    ("fractions", "x.safetensors", safetensors(b'{"a":[' + b"1.5," * 10**6 + b"1]}"), "no whole"),
    ("10^6 tables", "x.safetensors", safetensors(b'{"a":[' + b"{}," * 10**6), "100000 tensors"),
    ("a web page", "x.safetensors", b"<!DOCTYPE html><html>404", "web page"),
    ("a web page with a mark", "x.pth", b"\xef\xbb\xbf\n<html>404", "web page"),
    ("a Git LFS pointer", "x.pth", b"version https://git-lfs.github.com/spec/v1\noid", "LFS pointer"),
    ("a picture", "x.safetensors", b"\x89PNG\r\n\x1a\n" + bytes(99), "a picture"),
    ("a photograph", "x.pth", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(99), "a picture"),
    ("a video", "x.safetensors", b"\0\0\0\x20ftypisom" + bytes(99), "a video"),
    ("a text", "x.safetensors", b"The quick brown fox jumps over the lazy dog.\n" * 3, "a text file"),
    ("a text in Chinese", "x.safetensors", "色调艳丽，过曝".encode() * 9, "a text file"),
    ("JSON", "x.safetensors", b'{"model_type": "t2v", "dim": 5120, "eps": 1e-6, "more": 1}', "a JSON file"),
    ("an archive", "x.safetensors", b"\x1f\x8b\x08" + bytes(99), "unpack it first"),
    ("HDF5", "x.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    ("noise", "x.safetensors", bytes(range(255, 100, -1)), "no safetensors file"),
    ("an index that is a table of numbers", "x.safetensors.index.json", b'{"weight_map": 3}', "no index"),
    ("a web page as an index", "x.safetensors.index.json", b"<html>", "no index"),
    ("an index of 10^6 brackets", "x.safetensors.index.json", b"[" * 10**6, "no index"),
    ("code", "x.pth", saved({"a": Runs()}), r"it names 'posix\.system'.*refused"),
    (
        "code in an old file",
        "x.pth",
        saved({"a": Runs()}, _use_new_zipfile_serialization=False),
        "refused",
    ),
    ("a bare pickle", "x.pth", pickle.dumps({"a": Runs()}, 2), "refused"),
    ("a bare pickle of another name", "x.weights", pickle.dumps({"a": Runs()}, 2), "refused"),
    ("a bare new pickle", "x.pth", pickle.dumps({"a": Runs()}, 5), "refused"),
    ("a new pickle in an archive", "x.pth", saved({"a": Runs()}, pickle_protocol=4), "refused"),
    ("10 TB of memory", "x.pth", saved({"a": Allocates()}), "refused"),
    (
        "10 TB of memory in an old file",
        "x.pth",
        saved({"a": Allocates()}, _use_new_zipfile_serialization=False),
        "refused",
    ),
    ("a TorchScript program", "x.pt", archive({"m/data.pkl": b"\x80\x02}.", "m/code/a.py": b""}), "refused"),
    ("an archive without data.pkl", "x.pth", archive({"x/version": b"3"}), "without a pickled"),
    ("numpy's archive", "x.npz", archive({"arr_0.npy": b"\x93NUMPY"}), "without a pickled"),
    ("two states in one", "x.pth", archive({"a/data.pkl": b"", "b/data.pkl": b""}), "without a pick"),
    (
        "a zip bomb",
        "x.pth",
        archive({"x/data.pkl": b"\x80\x02}.", "x/data/0": bytes(10**8)}, compressed=True),
        "is compressed",
    ),
    ("no end", "x.pth", GOOD_PTH[:-30], "cut short"),
    ("only the mark", "x.pth", b"PK\x03\x04", "cut short"),
    ("65535 records in 4 GB", "x.pth", lying_directory(65535, 2**32 - 2), "claims"),
    ("2^60 records", "x.pth", lying_directory_64(2**60, 2**61), "claims"),
    ("an old file cut short", "x.pth", OLD_PTH[:60], "cut short|download it again"),
    ("a pickle that is noise", "x.pth", b"\x80\x02" + bytes(range(255, 0, -1)), "damaged or cut short"),
    ("a string of 2^62 bytes", "x.pth", b"\x80\x04\x8e" + struct.pack("<Q", 2**62), "damaged"),
]  # fmt: skip


def refused(path: Path, says: str, memory: float = MEMORY) -> str:
    """The sentence with which a file is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=says) as caught:
            identify(open_weights(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    sentence = str(caught.value)
    assert peak < memory
    assert sentence.isprintable()
    assert sentence.endswith(".") and ". " not in sentence
    assert len(sentence) < 500
    return sentence


@pytest.mark.parametrize(
    ("name", "content", "says"), [one[1:] for one in FILES], ids=[one[0] for one in FILES]
)
def test_bad_files(
    tmp_path: Path, name: str, content: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert name in refused(tmp_path / name, says)
    assert not (tmp_path / "ran-code").exists()


def test_what_a_file_is_called_does_not_matter(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "x.pth", {"a": (2,)})
    write_gguf(tmp_path / "x.ckpt", {"a": (2,)})
    (tmp_path / "x.gguf").write_bytes(GOOD_PTH)
    for name in ("x.pth", "x.ckpt", "x.gguf"):
        assert open_weights(tmp_path / name).shape("a") == (2,)
    for index, content in enumerate((GOOD_PTH, OLD_PTH)):
        # torch itself goes by the name here
        (tmp_path / f"{index}.safetensors").write_bytes(content)
        refused(
            tmp_path / f"{index}.safetensors", "under the name of a safetensors file; rename it"
        )


def test_an_old_pickle_that_would_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "x.pth").open("wb") as file:
        file.write(OLD_PTH)
        file.truncate(MAX_LEGACY_BYTES + 1)
    refused(tmp_path / "x.pth", "read into memory whole; convert it to safetensors")


def test_records_that_lie_over_each_other(tmp_path: Path) -> None:
    content = bytearray(archive({"x/data.pkl": b"\x80\x02}.", "x/data/0": bytes(4000)}))
    for mark, at in ((b"PK\x01\x02", 20), (b"PK\x01\x02", 24)):  # sizes in the directory
        place = content.rfind(mark)
        content[place + at : place + at + 4] = (10**8).to_bytes(4, "little")
    (tmp_path / "x.pth").write_bytes(content)
    refused(tmp_path / "x.pth", "its records claim|damaged")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (make_fifo, "a device or a pipe"),
        (make_loop, "cannot be read|no such weight file"),
        (make_folder, "no weights"),
        (make_link_to_nowhere, "no such weight file"),
    ],
)
@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x.gguf", "x.safetensors.index.json"])
def test_what_is_no_file(
    tmp_path: Path, make: Callable[[Path], None], says: str, name: str
) -> None:
    make(tmp_path / name)
    refused(tmp_path / name, says)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "x\0.safetensors", "x" * 300])
def test_paths_that_lead_to_no_file(path: str) -> None:
    refused(Path(path), "device|no such weight file|cannot be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", {"a": (2,)})
    path.chmod(0)
    refused(path, "cannot be read")


def test_a_file_that_the_system_does_not_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_safetensors(tmp_path / "x.safetensors", {"a": (2,)})

    def deny(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    refused(path, "cannot be read \\(Permission denied\\)")


@pytest.mark.parametrize("make", [make_fifo, make_folder, make_loop])
def test_a_shard_that_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.safetensors")
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "a.safetensors"}}))
    refused(index, '"a.safetensors" is missing')


HOSTILE = "a\x1b[31m\nb\u202e.safetensors"


@pytest.mark.parametrize(
    "content", [b"", b"<html>", GOOD_PTH[:50], b"GGUF", b"\x80\x02x", bytes(99)]
)
def test_names_with_control_characters_are_written_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / HOSTILE).write_bytes(content)
    sentence = refused(tmp_path / HOSTILE, ".")
    assert r"a\x1b[31m\nb\u202e.safetensors" in sentence


def test_labels_are_printable_too(tmp_path: Path) -> None:
    write_safetensors(tmp_path / HOSTILE, {"a": (2,)})
    assert open_weights(tmp_path / HOSTILE).label == r"a\x1b[31m\nb\u202e.safetensors"
    for number in range(2):
        write_gguf(tmp_path / f"{number}\n.gguf", {"a": (2,)})
    (tmp_path / HOSTILE).unlink()
    assert r"0\n.gguf, 1\n.gguf" in refused(tmp_path, "several checkpoints")
