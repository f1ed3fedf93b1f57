"""Where files were last, by their content."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from wan_core.config import cache_folder
from wan_core.planning import whereabouts as module
from wan_core.planning.whereabouts import remember, whereabouts


def test_files_are_found_while_they_are_there(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    file.touch()
    remember({"f" * 64: file})
    assert whereabouts("f" * 64) == file
    assert whereabouts("0" * 64) is None
    assert whereabouts(None) is None
    file.unlink()
    assert whereabouts("f" * 64) is None


def test_numbered_pictures_are_found_by_their_pattern(tmp_path: Path) -> None:
    pattern = tmp_path / "pictures" / "%03d.png"
    remember({"f" * 64: pattern})
    assert whereabouts("f" * 64) is None
    pattern.parent.mkdir()
    assert whereabouts("f" * 64) == pattern


def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(5):
        remember({str(number): tmp_path})
    remember({"2": tmp_path})  # nothing new
    assert [n for n in range(5) if whereabouts(str(n))] == [2, 3, 4]


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"f": 3}', '{"f": "\\u0000"}', "[" * 100_000])
def test_a_damaged_list_counts_as_empty(tmp_path: Path, content: str) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / "files.json").write_text(content)
    assert whereabouts("f") is None
    remember({"f": tmp_path})
    assert whereabouts("f") == tmp_path


def test_a_cache_that_can_not_be_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "file" / "cache"))
    remember({"f": tmp_path})
    assert whereabouts("f") is None


def test_nor_does_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    remember({"f": tmp_path})
    assert whereabouts("f") is None
    assert not list(cache_folder().iterdir())
