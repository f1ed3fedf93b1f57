"""Finished videos get their names whole, and nothing is lost: races, kills, full disks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import NAMES, contents, noise

from wan_core.contract.errors import MediaError, ResourceError
from wan_core.media import Written, landing, probe, write_video, writing
from wan_core.media.formats import format_of


def top(path: Path) -> Path:
    """What stands for the video in its folder: the file, or the folder of pictures."""
    return path.parent if "%" in path.name else path


def meanwhile(path: Path, happens: object) -> Iterator[np.ndarray]:
    """Two frames; ``happens()`` is called between them."""
    yield noise(1)
    happens()  # type: ignore[operator]
    yield noise(1)


@pytest.mark.parametrize("name", NAMES)
def test_an_earlier_video_is_replaced_as_a_whole(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / name, [noise(5)], 16)
    write_video(tmp_path / name, [noise(2)], 24)
    assert (probe(tmp_path / name).frames, probe(tmp_path / name).fps) == (2, 24)
    assert list(tmp_path.iterdir()) == [top(tmp_path / name)]
    assert len(contents(tmp_path / name)) == (2 if "%" in name else 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_video_that_appears_meanwhile_stays_and_the_new_one_goes_beside(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    frames = meanwhile(path, lambda: write_another(path))
    written = write_video(path, frames, 16, overwrite=False)
    beside = top(path).with_name(f"{top(path).stem}-2{top(path).suffix}")
    assert written == Written(beside / path.name if "%" in name else beside, 2)
    assert (probe(path).frames, probe(written.path).frames) == (7, 2)
    assert sorted(tmp_path.iterdir()) == sorted([top(path), beside])


def write_another(path: Path) -> None:
    elsewhere = path.parents["%" in path.name] / "elsewhere" / path.name
    write_video(elsewhere, [noise(7)], 16)
    if "%" in path.name:
        elsewhere.parent.rename(path.parent)
    else:
        elsewhere.rename(path)
        elsewhere.parent.rmdir()


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_video_and_appears_meanwhile_stays(
    tmp_path: Path, name: str, overwrite: bool
) -> None:
    path = tmp_path / name

    def appear() -> None:
        folder = path.parent if "%" in name else path
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
        top(path).with_name(f"{top(path).stem}-2{top(path).suffix}").write_text("mine too")

    written = write_video(path, meanwhile(path, appear), 16, overwrite=overwrite)
    assert top(written.path).name == f"a-3{top(path).suffix}"
    assert probe(written.path).frames == 2
    assert (top(path) / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 3


def test_free_names_are_found_as_others_would_say_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("x" * 251 + ".mp4")
    frames = meanwhile(path, path.touch)
    written = write_video(path, frames, 16, overwrite=False)
    assert written.path == Path("x" * 249 + "-2.mp4")
    assert probe(written.path).frames == 2
    assert path.stat().st_size == 0
    (tmp_path / "real").mkdir()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real" / "b.mp4")
    frames = meanwhile(path, (tmp_path / "real" / "b.mp4").touch)
    written = write_video("link.mp4", frames, 16, overwrite=False)
    assert written.path == tmp_path / "real" / "b-2.mp4"


@pytest.mark.parametrize("name", ["a.mkv", "a/%05d.png"])
def test_systems_without_links_and_swaps_are_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(landing, "_exchange", lambda *_: False)
    path = tmp_path / name
    assert write_video(path, [noise(3)], 16, overwrite=False).path == path
    assert write_video(path, [noise(2)], 16).path == path
    frames = meanwhile(path, lambda: None)
    monkeypatch.setattr(writing, "check_target", lambda path, **_: format_of(path))
    assert top(write_video(path, frames, 16, overwrite=False).path).stem == "a-2"
    assert probe(path).frames == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_was_put_aside_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    """Where two folders can't be swapped, a kill between two renames leaves neither in place."""
    path = tmp_path / "a" / "%05d.png"
    dead = 2**22 - 1

    def stopped() -> Iterator[np.ndarray]:
        (hidden,) = tmp_path.glob(".wan-*")
        start = hidden.name.rpartition("-")[0]
        path.parent.rename(tmp_path / f"{start}-{dead}.old")
        raise KeyboardInterrupt
        yield

    write_video(path, [noise(3)], 16)
    with pytest.raises(KeyboardInterrupt):
        write_video(path, stopped(), 16)
    assert not path.parent.exists()
    with pytest.raises(MediaError, match="no frames"):
        write_video(path, [], 16)
    assert probe(path).frames == 3
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, GeneratorExit, OSError])
def test_an_error_leaves_what_was_there(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    path = tmp_path / name
    write_video(path, [noise(3)], 16)
    before = contents(path)

    def stop() -> None:
        assert list(tmp_path.glob(".wan-*"))
        raise error

    with pytest.raises(error):
        write_video(path, meanwhile(path, stop), 16)
    assert list(tmp_path.iterdir()) == [top(path)]
    assert contents(path) == before


def test_one_process_does_not_write_a_video_twice_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"

    def again() -> None:
        with pytest.raises(MediaError, match=r"a\.mp4: is being written already"):
            write_video(path, [noise(1)], 16)

    assert write_video(path, meanwhile(path, again), 16).frames == 2
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
import numpy
from wan_core.media import write_video
noise = numpy.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=numpy.uint8)
def chunks():
    yield noise
    os.kill(os.getpid(), signal.SIGKILL)
for path in sys.argv[1:]:
    if (child := os.fork()) == 0:
        write_video(path, chunks(), 16)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


def test_killed_processes_leave_nothing_under_the_name_and_nothing_for_long(tmp_path: Path) -> None:
    """Before the first video of a name, and over an earlier one."""
    paths = [tmp_path / f"{number}" / name for number, name in enumerate(NAMES)]
    for path in paths[1::2]:
        write_video(path, [noise(2)], 16)
    before = {path: contents(path) for path in paths[1::2]}
    subprocess.run([sys.executable, "-c", KILLED, *map(str, paths)], check=True, timeout=60)
    for path in paths:
        folder = top(path).parent
        assert [one.name.startswith(".wan-") for one in folder.iterdir()].count(True) == 1
        assert top(path).exists() == (path in before)
        assert path not in before or contents(path) == before[path]
        write_video(path, [noise(3)], 16)
        assert list(folder.iterdir()) == [top(path)]
        assert probe(path).frames == 3


AT_EVERY_STEP = """
import os, signal, sys
import numpy
from wan_core.media import probe, write_video
path = sys.argv[1]
noise = numpy.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), dtype=numpy.uint8)
write_video(sys.argv[2], [noise], 16)  # what it imports is not counted
left = 0
def watch(event, arguments):
    global left
    if event.startswith(("os.", "open", "ctypes.", "shutil.")) and left:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
for step in range(1, 400):
    if (child := os.fork()) == 0:
        left = step
        write_video(path, [noise], 16)
        left = 0
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    assert probe(path).frames in (2, 3), step
print(step)
"""


@pytest.mark.parametrize("name", ["a.mkv", "a/%05d.png"])
def test_a_kill_at_any_step_leaves_one_of_the_two_videos(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_video(path, [noise(2, 16, 16)], 16)
    done = subprocess.run(
        [sys.executable, "-c", AT_EVERY_STEP, str(path), str(tmp_path / "warm" / name)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    assert 8 < int(done.stdout) < 399  # steps, at each of which it was killed once
    assert probe(path).frames == 3


FULL = """
import resource, sys
from pathlib import Path
import numpy
from wan_core.contract.errors import ResourceError
from wan_core.media import write_video
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
noise = numpy.random.default_rng(0).integers(0, 255, (40, 96, 96, 3), dtype=numpy.uint8)
comment = "".join(map(chr, numpy.random.default_rng(1).integers(0x4e00, 0x9000, 80000)))
for path in sys.argv[2:]:
    for text in (None, comment):
        try:
            write_video(path, [noise[:20], noise[20:]], 16, comment=text)
            print("written", path)
        except ResourceError as error:
            print(error)
"""


@pytest.mark.parametrize("limit", [1_000, 20_000])
def test_a_limit_of_the_file_size_is_one_sentence(tmp_path: Path, limit: int) -> None:
    paths = [tmp_path / name for name in NAMES]
    check_full(tmp_path, paths, str(limit))


def check_full(folder: Path, paths: list[Path], limit: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, limit, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    sentence = "{}: the disk is full; free some space or write somewhere else."
    assert done.stdout.splitlines() == [sentence.format(path) for path in paths for _ in (0, 1)]
    assert [one.name for one in folder.iterdir()] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this container may not mount")
    try:
        check_full(disk, [disk / name for name in NAMES], "0")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_failing_sync_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems find out that they are full only then."""

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in NAMES:
        with pytest.raises(ResourceError, match="the disk is full"):
            write_video(tmp_path / name, [noise(1)], 16)
    assert list(tmp_path.iterdir()) == []
