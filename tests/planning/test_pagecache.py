"""What the system holds in memory of a file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from wan_core.planning.pagecache import cached_share


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(6400))
    return path


def test_the_share_of_places_that_need_no_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(descriptor: int, buffers: Any, place: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        if place >= 1600:
            raise BlockingIOError
        return 1

    monkeypatch.setattr(os, "preadv", preadv)
    assert cached_share(file) == 0.25


def test_a_system_that_can_not_say(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(*_: Any) -> int:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "preadv", preadv)
    assert cached_share(file) == 0
    monkeypatch.delattr(os, "RWF_NOWAIT")
    assert cached_share(file) == 0


def test_folders_and_files_that_are_gone(tmp_path: Path) -> None:
    assert cached_share(tmp_path) == 0
    assert cached_share(tmp_path / "gone") == 0


def test_a_real_file_is_asked_without_error(file: Path) -> None:
    assert 0 <= cached_share(file) <= 1
