"""The cache of encoded prompts: keys, whole entries or none, a bounded size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wan_core.models.encoders import EmbeddingCache, embedding_key

ROWS = torch.arange(12.0).reshape(3, 4)
BASE = {"encoder": "e" * 64, "tokenizer": "t" * 64, "dtype": "bfloat16"}


def entry(cache: EmbeddingCache, key: str) -> Path:
    return cache.folder / f"{key}.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_put_in_comes_out(tmp_path: Path, dtype: torch.dtype) -> None:
    cache = EmbeddingCache(tmp_path / "new" / "folder")
    assert cache.get("k") is None
    cache.put("k", ROWS.to(dtype))
    found = cache.get("k")
    assert found is not None
    assert found.dtype is dtype
    assert torch.equal(found, ROWS.to(dtype))
    assert [path.name for path in cache.folder.iterdir()] == ["k.safetensors"]


def test_rows_that_are_a_view(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put("k", ROWS.T[1:3])
    found = cache.get("k")
    assert found is not None
    assert torch.equal(found, ROWS.T[1:3])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        lambda data: b"\xff" * len(data),
        lambda data: data.replace(b"sha256", b"sha257"),
        lambda data: data.replace(b'"rows"', b'"rowz"'),
    ],
)
def test_damaged_entries_count_as_missing_and_are_rewritten(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    cache = EmbeddingCache(tmp_path)
    cache.put("k", ROWS)
    entry(cache, "k").write_bytes(damage(entry(cache, "k").read_bytes()))
    assert cache.get("k") is None
    cache.put("k", ROWS)
    found = cache.get("k")
    assert found is not None
    assert torch.equal(found, ROWS)


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    for date, key in enumerate(("a", "b", "c")):
        cache.put(key, ROWS)
        os.utime(entry(cache, key), (date, date))
    size = entry(cache, "a").stat().st_size
    assert cache.get("a") is not None  # used: now the newest
    cache.max_bytes = 3 * size
    cache.put("d", ROWS)
    assert [cache.get(key) is not None for key in "abcd"] == [True, False, True, True]


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.put("k", ROWS)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    cache.put("k", ROWS + 1)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["k.safetensors"]
    found = cache.get("k")
    assert found is not None
    assert torch.equal(found, ROWS)


def test_a_folder_that_cannot_be_made_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "cache")
    assert cache.get("k") is None
    cache.put("k", ROWS)
    assert "cannot be kept" in caplog.text


def test_keys_depend_on_everything_that_the_rows_depend_on() -> None:
    keys = {
        embedding_key("a cat", **BASE),
        embedding_key("a dog", **BASE),
        embedding_key("a cat", **BASE | {"encoder": "f" * 64}),
        embedding_key("a cat", **BASE | {"tokenizer": "u" * 64}),
        embedding_key("a cat", **BASE | {"dtype": "float32"}),
        embedding_key("a cat", **BASE, device="cuda"),
        embedding_key("a cat", **BASE, text_len=64),
        embedding_key("a cat", **BASE, cleaning="lower"),
    }
    assert len(keys) == 8
    assert all(len(key) == 64 for key in keys)
    assert embedding_key(" a  cat\n", **BASE) in keys


def test_a_key_and_a_miss_need_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys; from wan_core.models.encoders import EmbeddingCache, embedding_key;"
        "key = embedding_key('a', encoder='e', tokenizer='t', dtype='float32');"
        "from pathlib import Path; assert EmbeddingCache(Path(sys.argv[1])).get(key) is None;"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])
