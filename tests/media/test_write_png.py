"""A single picture: whole or not there, never in the place of what it must not replace."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.media import read_still, write_png

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with things in the way."""
    (tmp_path / "file").touch()
    (tmp_path / "there.png").write_bytes(b"mine")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("there.png")
    return tmp_path


@pytest.mark.parametrize("name", ["new.png", "NEW.PNG", "deep/er/new.png", "100%.png"])
def test_the_pixels_are_there_and_nothing_else(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert write_png(path, PICTURE) == path
    assert np.array_equal(read_still(path).pixels, PICTURE)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "overwrite", "problem"),
    [
        ("a.jpg", False, 'a picture is not written as "a.jpg"; end it in .png.'),
        ("a\x1b.gif", False, 'a picture is not written as "a\\x1b.gif"; end it in .png.'),
        ("there.png", False, "there.png exists already; say --overwrite, or name another file."),
        ("link.png", False, "link.png exists already; say --overwrite, or name another file."),
        ("folder.png", True, "folder.png is a folder; name a file."),
        ("pipe.png", True, "pipe.png is no ordinary file; choose another name."),
        ("file/new.png", True, "file is a file, not a folder."),
        ("q" * 300 + ".png", False, "can't be written (File name too long)."),
    ],
)
def test_what_is_in_the_way_stays(name: str, overwrite: bool, problem: str, place: Path) -> None:
    before = sorted(place.iterdir())
    with pytest.raises(MediaError) as caught:
        write_png(place / name, PICTURE, overwrite=overwrite)
    assert str(caught.value).endswith(problem)
    assert sorted(place.iterdir()) == before
    assert (place / "there.png").read_bytes() == b"mine"


def test_a_file_is_replaced_and_a_link_is_followed(place: Path) -> None:
    write_png(place / "link.png", PICTURE, overwrite=True)
    assert (place / "link.png").is_symlink()
    assert np.array_equal(read_still(place / "there.png").pixels, PICTURE)


def test_a_picture_that_fails_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, file: Path, kind: str) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    before = sorted(place.iterdir())
    with pytest.raises(Exception, match="the disk is full"):
        write_png(place / "there.png", PICTURE, overwrite=True)
    assert sorted(place.iterdir()) == before
    assert (place / "there.png").read_bytes() == b"mine"
