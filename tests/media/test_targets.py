"""What is refused at second 0: names, sizes, places, and disks without room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import NAMES, noise

from wan_core.contract.errors import MediaError, ResourceError
from wan_core.media import check_target, estimate_bytes, free_space, space, write_video
from wan_core.media.patterns import Pattern

SUFFIXES = "supported are the suffixes .mp4, .webm, .mkv, .webp, .gif, .png"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with things in the way."""
    (tmp_path / "file").touch()
    (tmp_path / "there.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.gif")
    (tmp_path / "link.webp").symlink_to("pipe.gif")
    for folder in ("empty", "frames", "mixed", "nested", "linked"):
        (tmp_path / folder).mkdir()
    (tmp_path / "frames" / "00000.png").touch()
    (tmp_path / "mixed" / "00000.png").touch()
    (tmp_path / "mixed" / "notes\n.txt").touch()
    (tmp_path / "nested" / "00000.png").mkdir()
    (tmp_path / "linked" / "00000.png").symlink_to("../file")
    return tmp_path


OVERWRITE = "say overwrite = true under [output], or --overwrite, or use a name like {name}-{n}"
OWN = 'give the frames a folder of their own, such as "clip/%05d.png"'


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.mp5", f'a video can\'t be written as "a.mp5"; did you mean ".mp4", {SUFFIXES}.'),
        ("a.webpp", f'did you mean ".webp", {SUFFIXES}.'),
        ("a.avi", f'a video can\'t be written as "a.avi"; {SUFFIXES}.'),
        ("a", f'a video can\'t be written as "a"; {SUFFIXES}.'),
        ("a\x1b[2J.txt", 'a video can\'t be written as "a\\x1b[2J.txt"; '),
        (".", " is a folder; name a file."),
        ("folder.mp4", "folder.mp4 is a folder; name a file."),
        ("empty", "empty is a folder; name a file."),
        ("pipe.gif", "pipe.gif is no ordinary file; choose another name."),
        ("link.webp", "link.webp is no ordinary file; choose another name."),
        ("file/a.mp4", "file is a file, not a folder."),
        ("file/%05d.png", "file is a file, not a folder."),
        ("file/new/%05d.png", "file is a file, not a folder."),
        (
            "a/" * 500 + "x.mp4",
            "500 folders would have to be made, one in the other; use a shorter path.",
        ),
        ("x" * 300 + ".mp4", "can't be written (File name too long)"),
        ("new/" + "x" * 300 + ".webm", "can't be written (File name too long)"),
        ("x" * 300 + "/%05d.png", "can't be written (File name too long)"),
        ("new/" + "x" * 247 + "%05d.png", "can't be written (File name too long)"),
        ("clip/a.png", 'the name "a.png" has no field for the number of the frame; write it like '),
        ("clip/a.png", 'write it like "a/%05d.png".'),
        ("clip/%d-%d.png", "must have one such field, with no digits next to it or after it"),
        (
            "clip/%s.png",
            "must have one such field, with no digits next to it or after it; write it",
        ),
        ("clip/%%05d.png", "must have one such field"),
        ("clip/100%-%05d.png", "must have one such field"),
        ("clip/take2%05d.png", "must have one such field"),
        ("clip/%05d-v2.png", "must have one such field"),
        ("mixed/%05d.png", f'holds other things than such frames: "notes\\n.txt"; {OWN}.'),
        ("nested/%05d.png", 'holds other things than such frames: "00000.png"'),
        ("linked/%05d.png", 'holds other things than such frames: "00000.png"'),
        ("frames/%04d.png", 'holds other things than such frames: "00000.png"'),
        ("/%05d.png", f"/ can't become a folder of frames as a whole; {OWN}."),
    ],
)
def test_bad_targets_are_refused_before_anything_is_pulled(
    place: Path, name: str, problem: str
) -> None:
    def never() -> Iterator[np.ndarray]:
        pytest.fail("a chunk was pulled")
        yield noise(1)

    before = sorted(place.rglob("*"))
    for overwrite in (True, False):
        with pytest.raises(MediaError) as caught:
            check_target(place / name, overwrite=overwrite, where="-o")
        assert problem in str(caught.value)
        assert str(caught.value).startswith("-o: ")
        with pytest.raises(MediaError):
            write_video(place / name, never(), 16, overwrite=overwrite)
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("name", ["there.mp4", "frames/%05d.png"])
def test_what_exists_is_kept_unless_it_is_to_be_overwritten(place: Path, name: str) -> None:
    check_target(place / name)
    with pytest.raises(MediaError, match="exists already") as caught:
        check_target(place / name, overwrite=False)
    assert caught.value.remedy == OVERWRITE


def test_an_empty_folder_is_taken(place: Path) -> None:
    write_video(place / "empty" / "f%d.png", [noise(12)], 16, overwrite=False)
    assert len(list((place / "empty").iterdir())) == 12
    assert (place / "empty" / "f11.png").exists()


def test_the_current_folder_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("%05d.png", f"../{tmp_path.name}/%05d.png"):
        with pytest.raises(MediaError, match="can't become a folder of frames as a whole"):
            check_target(name)


def test_a_linked_folder_stays_linked(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for frames in (3, 2):
        written = write_video(tmp_path / "link" / "%05d.png", [noise(frames)], 16)
    assert written.path == tmp_path / "link" / "%05d.png"
    assert (tmp_path / "link").is_symlink()
    assert len(list((tmp_path / "real").iterdir())) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", ["locked/a.mp4", "locked/%05d.png", "locked/new/%05d.png"])
def test_a_folder_that_may_not_be_written_to(tmp_path: Path, name: str) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(
        ResourceError, match=r"locked may not be written to; change its permissions"
    ):
        check_target(tmp_path / name)


def test_an_unwritable_folder_by_the_answer_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for root, to whom nothing is locked."""
    (tmp_path / "clip").mkdir()
    locked = tmp_path
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    for name in ("a.mp4", "new/deep/a.webm", "clip/%05d.png", "new/%05d.png"):
        with pytest.raises(ResourceError, match="may not be written to"):
            check_target(tmp_path / name)
    locked = tmp_path / "clip"
    with pytest.raises(ResourceError, match="clip may not be written to"):
        check_target(tmp_path / "clip" / "%05d.png")
    check_target(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    ("name", "width", "height", "problem"),
    [
        ("a.mp4", 15, 16, "width 15 can't be written as .mp4; use a multiple of 2"),
        ("a.mp4", 16, 17, "height 17 can't be written as .mp4; use a multiple of 2"),
        ("a.mkv", 0, 16, "width 0 can't be written"),
        ("a.webp", 16384, 16, "width 16384 can't be written as .webp; use 16383 at most"),
        ("a.webm", 16, 16385, "height 16385 can't be written as .webm; use 16384 at most"),
        ("a.gif", 65536, 16, "width 65536 can't be written as .gif; use 65535 at most"),
        ("a/%05d.png", 9000, 9000, "9000x9000 is too large for a video; use 67108864 pixels"),
    ],
)
def test_sizes_that_a_format_can_not_hold(
    tmp_path: Path, name: str, width: int, height: int, problem: str
) -> None:
    with pytest.raises(MediaError) as caught:
        check_target(tmp_path / name, width=width, height=height, where="hello.toml, line 3")
    assert str(caught.value).startswith(f"hello.toml, line 3: {problem}")


@pytest.mark.parametrize("name", NAMES)
def test_the_disk_must_have_room_for_the_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "new" / name
    needed = estimate_bytes(path, 64, 48, 10)
    free = needed
    asked: list[Path] = []
    monkeypatch.setattr(space, "free_space", lambda path: asked.append(path) or free)
    check_target(path, width=64, height=48, frames=10)
    assert asked == [path.parent]
    free = needed - 1
    with pytest.raises(ResourceError) as caught:
        check_target(path, width=64, height=48, frames=10, where="hello.toml, line 3")
    assert caught.value.exit_code == 5
    check_target(path, width=64, height=48)


def test_the_room_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "free_space", lambda _: 3_100_000)
    with pytest.raises(ResourceError) as caught:
        check_target(tmp_path / "a.mkv", width=832, height=480, frames=33, where="-o")
    assert str(caught.value) == (
        "-o: the disk has 3 MB left, this video is predicted to need about 40 MB; free some space "
        "or write somewhere else."
    )


def test_free_space_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    def near(one: int, other: int) -> bool:
        return abs(one - other) < 1e9

    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    assert near(free_space(tmp_path / "a" / "b" / "c.mp4"), free)
    assert near(free_space(str(tmp_path)), free)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_above_what_a_moving_picture_takes(tmp_path: Path, name: str) -> None:
    """Some noise, as cameras have it, on something that moves."""
    from clips import contents, moving

    grain = noise(1, 96, 128)[0] % 5

    def grainy() -> Iterator[np.ndarray]:
        for index, picture in enumerate(moving(20, 96, 128)):
            yield picture + np.roll(grain, 7 * index, axis=1)

    write_video(tmp_path / name, grainy(), 16)
    size = sum(map(len, contents(tmp_path / name).values()))
    estimate = estimate_bytes(tmp_path / name, 128, 96, 20)
    assert size < estimate < 30 * size
    lossless = 20 * 96 * 128 * 3
    assert (estimate >= lossless) == (Path(name).suffix in (".mkv", ".png"))


@pytest.mark.parametrize(
    ("text", "number", "name"),
    [("%05d.png", 7, "00007.png"), ("%d.png", 12, "12.png"), ("f_%3d_x.png", 4321, "f_4321_x.png")],
)
def test_patterns_name_frames_and_know_them(text: str, number: int, name: str) -> None:
    pattern = Pattern.of(Path(text))
    assert pattern.name(number) == name
    assert pattern.number(name) == number
    for other in ("x" + name, name + "x", name.replace(".", "١."), "0" + name, text, ""):
        assert pattern.number(other) is None


def test_patterns_are_found_from_names() -> None:
    names = ["00009.png", "00010.png", "100000.png", "readme"]
    assert Pattern.found_in(names) == Pattern("", 5, ".png")
    assert Pattern.found_in(["a2b9.png", "a2b10.png"]) == Pattern("a2b", 1, ".png")
    assert Pattern.found_in(["a1.png", "b1.png"]) is None
    assert Pattern.found_in(["a1.png", "b01.png"], like="b7.png") == Pattern("b", 2, ".png")
    assert Pattern.found_in(["readme"]) is None
