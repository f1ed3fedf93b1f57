"""Reading videos, sources of chunks, contact sheets."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wan_core.contract.errors import MediaError
from wan_core.media import Chunks, contact_sheet, probe, read_frames, write_video


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("missing.mp4", None, "there is no such file"),
        ("text.mp4", b"hello " * 99, "this is no video that can be read"),
        ("text.txt", b"hello " * 99, "no video in it"),
        ("empty.mp4", b"", "this file is empty"),
    ],
)
def test_what_is_no_video_is_named(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for read in (probe, lambda path: next(read_frames(path))):
        with pytest.raises(MediaError, match=problem) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_a_truncated_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (30, 64, 64, 3), dtype=np.uint8)
    write_video(path, [noise], 16)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(MediaError, match="no video that can be read"):
        list(read_frames(path))


def test_frames_are_read_one_by_one(tmp_path: Path) -> None:
    levels = np.arange(0, 250, 5, dtype=np.uint8)
    chunk = np.broadcast_to(levels[:, None, None, None], (50, 32, 48, 3))
    write_video(tmp_path / "a.mp4", [chunk], 24)
    frames = list(itertools.islice(read_frames(tmp_path / "a.mp4"), 10))
    assert [f.shape for f in frames] == [(32, 48, 3)] * 10
    assert frames[0].dtype == np.uint8
    assert [round(float(f.mean())) for f in frames] == pytest.approx(list(levels[:10]), abs=2)


def test_other_colour_conventions_are_understood(tmp_path: Path) -> None:
    """A file tagged bt601 and full range has the same colours."""
    import av
    from av.video.reformatter import ColorRange, Colorspace

    picture = np.full((32, 32, 3), (30, 180, 220), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "4"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = 5
        stream.codec_context.color_range = 2
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG,
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (frame,) = read_frames(tmp_path / "a.mp4")
    assert np.abs(frame.astype(int) - picture).max() <= 3


def test_a_source_says_whether_it_can_be_read_again() -> None:
    def start() -> Iterator[int]:
        yield from (1, 2, 3)

    again = Chunks(start)
    assert again.replayable
    assert list(again) == list(again) == [1, 2, 3]
    once = Chunks.once(start())
    assert not once.replayable
    assert list(once) == [1, 2, 3]
    with pytest.raises(RuntimeError, match="read already"):
        iter(once)


def test_a_contact_sheet_lays_out_rows() -> None:
    from PIL import Image

    frames = [np.full((4, 6, 3), 10 * n, np.uint8) for n in range(5)]
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(frames, columns=3, gap=1))))
    assert sheet.shape == (9, 20, 3)
    assert [int(sheet[0, x, 0]) for x in (0, 6, 7, 14)] == [0, 255, 10, 20]
    assert [int(sheet[5, x, 0]) for x in (0, 7, 14)] == [30, 40, 255]
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_importing_the_room_imports_no_library() -> None:
    script = (
        "import sys, wan_core.media as m; m.check_target('a.mp4'); m.Chunks\n"
        "print(sorted({'torch', 'numpy', 'av', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"
