"""Files that were made to harm: sizes and texts are bounded before memory is taken."""

from __future__ import annotations

import tracemalloc
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import NAMES, contents, moving, noise
from forged import GIF, GIF_FRAME, anmf, png, png_chunk, webp

from wan_core.contract.errors import MediaError
from wan_core.media import probe, read_frames, write_video
from wan_core.media.formats import MAX_COMMENT


def read(path: Path) -> None:
    probe(path)
    for _ in read_frames(path):
        pass


def refused(path: Path, problem: str) -> None:
    """Both readers say so, in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=problem):
            probe(path)
        with pytest.raises(MediaError, match=problem):
            for _ in read_frames(path):
                pass
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.png", png(100_000, 100_000), "100000x100000 are too large to be read"),
        ("a.png", png(2**31 - 1, 1), "too large to be read"),
        ("a.png", png(0, 5), "0x5 is impossible"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "no PNG picture"),
        ("a.webp", webp(2**24, 2**24, anmf(0, 0, 4, 4, b"VP8 ")), "too large to be read"),
        ("a.webp", webp(16, 16, anmf(8, 8, 16, 16, b"VP8 ")), "outside of the picture"),
        ("a.webp", webp(16, 16, anmf(0, 0, 2, 2, bytes(70_000))), "more data than it can need"),
        ("a.webp", webp(16, 16), "no video in it"),
        ("a.webp", webp(16, 16, anmf(0, 0, 4, 4, b"x"))[:-9], "cut short"),
        ("a.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(20), "cut short"),
        ("a.gif", GIF + b"\x3b", "no video in it"),
        ("a.gif", GIF + GIF_FRAME[:-3], "cut short"),
        ("a.gif", GIF + b"\x21\xfe\xff" + b"x" * 9, "cut short"),
        ("a.gif", GIF + b"\x77", "this GIF is damaged"),
        ("a.gif", b"GIF89a\xff\xff\xff\xff\0\0\0" + GIF_FRAME, "too large to be read|impossible"),
        ("a.ppm", b"P6 60000 60000 255\n" + bytes(99), "too large|no video"),
        ("a.y4m", b"YUV4MPEG2 W20000 H20000 F16:1\nFRAME\n" + bytes(99), "too large|no video"),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "no video"),
        ("a.txt", b"ffconcat version 1.0\nfile other.mp4\n", "no video"),
        ("a.sdp", b"v=0\nm=video 1234 RTP/AVP 96\na=rtpmap:96 H264/90000\n", "no video"),
    ],
)
def test_harmful_files_are_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    write_video(tmp_path / "other.mp4", [noise(1)], 16)
    path = tmp_path / name
    path.write_bytes(content)
    if problem in ("cut short", "this GIF is damaged"):
        with pytest.raises(MediaError, match=problem):
            probe(path)
        return  # what is there of the frames may be read
    refused(path, problem)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        (b"zTXt", b"comment\0\0" + zlib.compress(b"x" * 30_000_000)),
        (b"iTXt", b"comment\0\1\0\0\0" + zlib.compress(b"x" * 30_000_000)),
    ],
)
def test_a_compressed_text_does_not_blow_up(tmp_path: Path, keyword: bytes, text: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 4, png_chunk(keyword, text)))
    refused(path, "this picture is damaged")


def test_longer_comments_than_are_written_count_as_none(tmp_path: Path) -> None:
    import av

    long = "x" * (MAX_COMMENT + 1)
    (tmp_path / "a.png").write_bytes(png(4, 4, png_chunk(b"tEXt", b"comment\0" + long.encode())))
    blocks = b"".join(b"\xff" + b"x" * 255 for _ in range(MAX_COMMENT // 255 + 1))
    gif = GIF + b"\x21\xfe" + blocks + b"\0" + GIF_FRAME + b"\x21\xfe\x02ok\0\x3b"
    (tmp_path / "a.gif").write_bytes(gif)
    write_video(tmp_path / "b.webp", moving(1, 4, 4), 16, comment="x")
    for name in ("a.mp4", "a.mkv"):
        with av.open(str(tmp_path / name), "w") as container:
            container.metadata["comment"] = long
            stream = container.add_stream("libx264", rate=16)
            stream.width = stream.height = 16
            stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
            container.mux(stream.encode(None))
    for name in ("a.png", "a.mp4", "a.mkv"):
        assert probe(tmp_path / name).comment is None
    assert probe(tmp_path / "a.gif").comment == "ok"
    exif = b"MM\0*\0\0\0\x08" + b"\xff" * 600_000
    still = contents(tmp_path / "b.webp")[""]
    frame = still[still.index(b"ANMF") + 24 : still.index(b"EXIF")]
    for data in (exif, exif[:1000], b"", b"II*\0" + b"\xff" * 99):
        (tmp_path / "a.webp").write_bytes(webp(4, 4, anmf(0, 0, 4, 4, frame), (b"EXIF", data)))
        assert probe(tmp_path / "a.webp").comment is None
        read(tmp_path / "a.webp")


@pytest.mark.parametrize("name", NAMES)
def test_damage_anywhere_is_one_sentence_or_none(tmp_path: Path, name: str) -> None:
    """Bytes changed and files cut at random: nothing but MediaError, and no crash."""
    path = tmp_path / name
    write_video(path, moving(4, 32, 32), 16, comment="x" * 300)
    target = path.parent / "00001.png" if "%" in name else path
    data = target.read_bytes()
    random = np.random.default_rng(0)
    refusals = 0
    for _ in range(60):
        changed = np.frombuffer(data, np.uint8).copy()
        for at in random.integers(0, len(data) if random.random() < 0.5 else 200, 3):
            changed[at] = random.integers(0, 256)
        cut = random.integers(0, len(data)) if random.random() < 0.3 else len(data)
        target.write_bytes(changed[:cut].tobytes())
        try:
            read(path)
        except MediaError:
            refusals += 1
    assert refusals > 5


def test_frames_of_other_sizes_in_a_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a" / "%05d.png"
    write_video(path, [noise(3, 16, 16)], 16)
    write_video(tmp_path / "b" / "%05d.png", [noise(3, 16, 18)], 16)
    (tmp_path / "b" / "00001.png").replace(tmp_path / "a" / "00001.png")
    with pytest.raises(
        MediaError, match=r"00001\.png: this frame is 18x16, the first one is 16x16"
    ):
        read(path)
    (tmp_path / "a" / "00001.png").unlink()
    for given in (path, path.parent, tmp_path / "a" / "00002.png"):
        with pytest.raises(MediaError, match=r'picture "00001\.png" is missing between others'):
            probe(given)


def test_a_sequence_is_found_by_folder_pattern_and_picture(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    write_video(folder / "shot_%03d.png", [noise(12)], Fraction(25, 2), comment="hello")
    for given in (folder, folder / "shot_%03d.png", folder / "shot_007.png", str(folder)):
        info = probe(given)
        assert (info.frames, info.fps, info.comment) == (12, Fraction(25, 2), "hello")
        assert info.duration == pytest.approx(0.96)
        assert np.array_equal(np.stack(list(read_frames(given))), noise(12))


def test_other_pictures_stand_for_themselves(tmp_path: Path) -> None:
    from PIL import Image

    for number in (1, 2, 3):
        Image.new("RGB", (6, 4), (number, 0, 0)).save(tmp_path / f"img{number}.png")
    grey = np.full((4, 6), 0x8012, np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    info = probe(tmp_path / "img2.png")
    assert (info.frames, info.fps, info.duration) == (1, 0, 0)
    (frame,) = read_frames(tmp_path / "img2.png")
    assert frame[0, 0].tolist() == [2, 0, 0]
    (frame,) = read_frames(tmp_path / "grey.png")
    assert frame.shape == (4, 6, 3)
    assert frame[0, 0].tolist() == [0x80] * 3
    assert [f[0, 0, 0] for f in read_frames(tmp_path / "img%d.png")] == [1, 2, 3]
    with pytest.raises(MediaError, match="there are no such pictures"):
        probe(tmp_path / "other%d.png")
    (tmp_path / "b1.png").write_bytes((tmp_path / "img1.png").read_bytes())
    for given in (tmp_path, tmp_path / "none"):
        with pytest.raises(MediaError, match=r"no sequence of numbered PNG|no such file"):
            probe(given)


def test_animations_of_other_programs_are_put_together(tmp_path: Path) -> None:
    """Frames that cover a part, are transparent, or go away after their time."""
    from PIL import Image

    red, green = Image.new("RGBA", (16, 16), "red"), Image.new("RGBA", (16, 16), "red")
    green.paste((0, 255, 0, 255), (4, 4, 8, 8))
    for path in (tmp_path / "a.webp", tmp_path / "a.gif"):
        red.save(path, save_all=True, append_images=[green, red], duration=100, lossless=True)
        frames = np.stack(list(read_frames(path)))
        assert frames[:, 5, 5].tolist() == [[255, 0, 0], [0, 255, 0], [255, 0, 0]]
        assert frames[:, 0, 0].tolist() == [[255, 0, 0]] * 3
        assert (probe(path).fps, probe(path).frames, probe(path).comment) == (10, 3, None)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_still_webp_is_a_video_of_one_frame(tmp_path: Path, mode: str, lossless: bool) -> None:
    from PIL import Image

    path = tmp_path / "a.webp"
    Image.new(mode, (33, 17), "red").save(path, lossless=lossless)
    info = probe(path)
    assert (info.width, info.height, info.frames, info.fps) == (33, 17, 1, 0)
    (frame,) = read_frames(path)
    assert frame.shape == (17, 33, 3)
    assert np.abs(frame.astype(int) - (255, 0, 0)).max() <= 3
