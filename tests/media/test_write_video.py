"""Writing videos: colours, rates, atomicity, memory and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest

from wan_core.contract.errors import MediaError, ResourceError
from wan_core.media import check_target, exact_rate, probe, read_frames, write_video

COLOURS = [
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (255, 255, 0),
    (0, 255, 255), (255, 0, 255), (128, 64, 200), (10, 20, 30), (250, 128, 0), (127, 127, 127),
]  # fmt: skip


def solid(colour: tuple[int, int, int], frames: int = 4) -> np.ndarray:
    """``[frames, 3, 48, 64]`` in -1…1."""
    chunk = np.empty((frames, 3, 48, 64), np.float32)
    chunk[:] = np.array(colour, np.float32)[:, None, None] / 127.5 - 1
    return chunk


def black(frames: int = 1, height: int = 16, width: int = 16) -> np.ndarray:
    return np.full((frames, 3, height, width), -1, np.float32)


def test_solid_colours_come_back(tmp_path: Path) -> None:
    path = tmp_path / "colours.mp4"
    assert write_video(path, map(solid, COLOURS), 16).frames == 4 * len(COLOURS)
    frames = np.stack(list(read_frames(path))).astype(int)
    wanted = np.repeat(np.array(COLOURS), 4, axis=0)[:, None, None, :]
    assert frames.shape == (48, 48, 64, 3)
    assert np.abs(frames - wanted).max() <= 3


def test_a_gradient_comes_back_without_a_shift(tmp_path: Path) -> None:
    y, x = np.mgrid[:128, :128] * 2
    picture = np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)
    write_video(tmp_path / "g.mp4", [np.stack([picture] * 8)], 16)
    difference = np.stack(list(read_frames(tmp_path / "g.mp4"))).astype(int) - picture
    assert np.abs(difference).max() <= 6
    assert np.abs(difference.mean((0, 1, 2))).max() < 0.3


def test_colours_are_tagged_for_players(tmp_path: Path) -> None:
    import av

    write_video(tmp_path / "a.mp4", [black()], 16)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc)
        assert [int(tag) for tag in tags] == [1, 1, 1]
        assert int(context.color_range) == 1
        assert context.pix_fmt == "yuv420p"


def test_the_index_comes_before_the_pictures(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [black()], 16)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_torch_tensors_of_every_precision_and_arrays_agree(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from wan_core.media.pixels import to_pixels

    chunk = torch.rand(2, 3, 16, 32, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2
    wanted = ((chunk.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(to_pixels(chunk), wanted)
    assert np.array_equal(to_pixels(chunk.requires_grad_()), wanted)
    assert np.array_equal(to_pixels(chunk.detach().numpy()), wanted)
    assert np.array_equal(to_pixels(wanted), wanted)
    assert np.array_equal(to_pixels(torch.from_numpy(wanted)), wanted)
    half = to_pixels(chunk.detach().bfloat16()).astype(int)
    assert np.abs(half - wanted).max() <= 1


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, map(solid, COLOURS), 24, comment="x")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (16, Fraction(16)),
        (24.0, Fraction(24)),
        (23.976, Fraction(24000, 1001)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
    ],
)
def test_rates_are_exact(tmp_path: Path, fps: float | Fraction, exact: Fraction) -> None:
    assert exact_rate(fps) == exact
    write_video(tmp_path / "a.mp4", [black(7)], fps)
    info = probe(tmp_path / "a.mp4")
    assert (info.fps, info.frames) == (exact, 7)
    assert info.duration == pytest.approx(7 / exact, abs=1e-4)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 5000])
def test_impossible_rates_are_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(MediaError, match="frame rate"):
        write_video(tmp_path / "a.mp4", [black()], fps)


def test_a_long_comment_comes_back(tmp_path: Path) -> None:
    comment = json.dumps({"prompt": "ein größer \n Kreis 圆" * 500}, ensure_ascii=False)
    write_video(tmp_path / "a.mp4", [black()], 16, comment=comment)
    assert probe(tmp_path / "a.mp4").comment == comment


def test_progress_counts_frames(tmp_path: Path) -> None:
    seen: list[int] = []
    write_video(tmp_path / "a.mp4", [black(1), black(4), black(4)], 16, on_frames=seen.append)
    assert seen == [1, 5, 9]


def test_folders_are_made_and_links_followed(tmp_path: Path) -> None:
    write_video(tmp_path / "new" / "deep" / "a.mp4", [black()], 16)
    (tmp_path / "link.mp4").symlink_to(tmp_path / "new" / "deep" / "a.mp4")
    write_video(tmp_path / "link.mp4", [black(3)], 16)
    assert (tmp_path / "link.mp4").is_symlink()
    assert probe(tmp_path / "new" / "deep" / "a.mp4").frames == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, GeneratorExit, OSError])
def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the earlier video")

    def chunks() -> Iterator[np.ndarray]:
        yield black(4)
        assert list(tmp_path.glob(".wan-*.mp4"))
        raise error

    with pytest.raises(error):
        write_video(path, chunks(), 16)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"the earlier video"


def test_a_generator_is_closed_when_writing_fails(tmp_path: Path) -> None:
    closed = []

    def chunks() -> Iterator[np.ndarray]:
        try:
            yield black()
            yield black(1, 32, 32)
        finally:
            closed.append(True)

    with pytest.raises(MediaError, match="frame 1 is 32x32, the first one is 16x16"):
        write_video(tmp_path / "a.mp4", chunks(), 16)
    assert closed == [True]
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import sys, time, numpy
from wan_core.media import write_video
def chunks():
    while True:
        yield numpy.zeros((8, 3, 64, 64), numpy.float32)
        print("written", flush=True)
write_video(sys.argv[1], chunks(), 16)
"""


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "a.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert run.stdout is not None
    run.stdout.readline()
    assert list(tmp_path.iterdir())
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=20)
    assert run.returncode != 0
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys, numpy
from wan_core.contract.errors import ResourceError
from wan_core.media import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noise = numpy.random.default_rng(0).integers(0, 255, (60, 96, 96, 3), dtype=numpy.uint8)
try:
    write_video(sys.argv[1], [noise], 16)
except ResourceError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [1_000, 100_000, 300_000])
def test_a_full_disk_is_one_sentence(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "a.mp4"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), str(limit)], capture_output=True, text=True
    )
    assert done.stderr == ""
    assert done.stdout == f"{path}: the disk is full; free some space or write somewhere else.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_forbidden_folder_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResourceError, match="may not be written to"):
        write_video(tmp_path / "a.mp4", [black()], 16)


def test_permission_errors_while_writing_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(ResourceError, match=r"may not be written to \(Permission denied\)"):
        write_video(tmp_path / "a.mp4", [black()], 16)


def test_what_cannot_be_written_is_refused_before_anything_is_pulled(tmp_path: Path) -> None:
    def never() -> Iterator[np.ndarray]:
        pytest.fail("a chunk was pulled")
        yield black()

    (tmp_path / "file").touch()
    (tmp_path / "there.mp4").touch()
    for name, problem in (
        ("a.avi", r"supported are the suffixes \.mp4"),
        ("a", r"supported are the suffixes \.mp4"),
        (".", "is a folder"),
        ("file/a.mp4", "is a file, not a folder"),
    ):
        with pytest.raises(MediaError, match=problem):
            write_video(tmp_path / name, never(), 16)
    with pytest.raises(MediaError, match=r"there\.mp4 exists already"):
        write_video(tmp_path / "there.mp4", never(), 16, overwrite=False)


def test_odd_sizes_are_refused_with_the_rule(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"height 17 can't be written as \.mp4; use a multiple"):
        write_video(tmp_path / "a.mp4", [black(1, 17, 16)], 16)
    with pytest.raises(MediaError, match=r"hello\.toml, line 3: width 15 can't be written"):
        check_target(tmp_path / "a.mp4", width=15, height=16, where="hello.toml, line 3")
    assert list(tmp_path.iterdir()) == []


def test_bad_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frames"):
        write_video(tmp_path / "a.mp4", [], 16)
    with pytest.raises(MediaError, match="not numbers"):
        write_video(tmp_path / "a.mp4", [black() * np.nan], 16)
    with pytest.raises(ValueError, match=r"this one is \[1, 4, 16, 16\] float32"):
        write_video(tmp_path / "a.mp4", [np.zeros((1, 4, 16, 16), np.float32)], 16)
    assert list(tmp_path.iterdir()) == []


def test_two_thousand_frames_take_constant_memory(tmp_path: Path) -> None:
    process = psutil.Process()
    resident: list[int] = []

    def chunks() -> Iterator[np.ndarray]:
        noise = np.random.default_rng(0).integers(0, 255, (96, 256, 3), dtype=np.uint8)
        for index in range(500):
            yield np.stack([np.roll(noise, 4 * index + n, axis=1) for n in range(4)])
            resident.append(process.memory_info().rss)

    assert write_video(tmp_path / "a.mp4", chunks(), 16).frames == 2000
    # the frames are 147 MB; the encoder looks ahead by some 60 of them
    assert max(resident[100:]) - resident[99] < 8e6


def test_only_an_ordinary_file_is_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    (tmp_path / "link.mp4").symlink_to(pipe)
    for path in (pipe, tmp_path / "link.mp4"):
        with pytest.raises(MediaError, match=rf"-o: .*/{path.name} is no ordinary file; choose"):
            check_target(path, where="-o")
        with pytest.raises(MediaError, match="is no ordinary file"):
            write_video(path, [black()], 16)
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", ["{}.mp4", "new/{}.mp4", "{}/a.mp4"])
def test_a_name_that_is_too_long_is_refused_before_anything_is_computed(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(MediaError, match=r"-o: can't be written \(File name too long\)"):
        check_target(tmp_path / name.format("x" * 300), where="-o")


def test_a_name_that_just_fits_is_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.mp4"
    check_target(path)
    assert write_video(path, [black()], 16).frames == 1
    assert list(tmp_path.iterdir()) == [path]


KILLED = INTERRUPTED.replace("import sys,", "import os, signal, sys,").replace(
    'print("written", flush=True)', "os.kill(os.getpid(), signal.SIGKILL)"
)


def test_what_a_killed_process_left_goes_with_the_next_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=20)
    (left,) = tmp_path.iterdir()
    start = left.stem.rpartition("-")[0]
    alive = tmp_path / f"{start}-{os.getppid()}.mp4"
    alive.touch()
    write_video(tmp_path / "other.mp4", [black()], 16)
    assert left.exists()
    write_video(path, [black()], 16)
    assert {one.name for one in tmp_path.iterdir()} == {"a.mp4", "other.mp4", alive.name}


def test_two_videos_can_be_written_into_a_folder_at_once(tmp_path: Path) -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield black()
        write_video(tmp_path / "b.mp4", [black(2)], 16)
        yield black()

    write_video(tmp_path / "a.mp4", chunks(), 16)
    assert probe(tmp_path / "a.mp4").frames == probe(tmp_path / "b.mp4").frames == 2


def test_a_gif_tells_colours_apart_and_not_their_numbers(tmp_path: Path) -> None:
    """Each frame has colours of its own: number 0 is black, then white, then black again."""
    levels = np.array([0, 255, 0, 255], np.uint8)[:, None, None, None]
    write_video(tmp_path / "a.gif", [np.broadcast_to(levels, (4, 16, 24, 3))], 16)
    assert [float(frame.mean()) for frame in read_frames(tmp_path / "a.gif")] == [0, 255, 0, 255]
