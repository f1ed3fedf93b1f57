"""Pictures to start from: every mode upright as RGB, and everything that is none refused in one sentence."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from clips import moving, noise
from forged import GIF_FRAME, png, webp
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.media import write_video
from wan_core.media.stills import is_still, probe_still, read_levels, read_still

RED, BLUE = (200, 30, 40), (10, 60, 220)


def corner(size: tuple[int, int] = (6, 4)) -> Image.Image:
    """Blue with a red pixel in the upper left, so that turns and mirrors show."""
    picture = Image.new("RGB", size, BLUE)
    picture.putpixel((0, 0), RED)
    return picture


def saved(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


def jpeg(width: int, height: int) -> bytes:
    """A small picture that says it is of another size."""
    buffer = io.BytesIO()
    corner().save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 200, 0, 0, 54) + head + bytes(99)


def tiff(width: int, height: int) -> bytes:
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    entries += [(273, 4, 200), (277, 3, 1), (278, 4, height), (279, 4, 99)]
    rows = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in entries
    )
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + rows + bytes(200)


LARGE = 60_000
CONTENTS: Mapping[str, tuple[bytes, str]] = {
    "empty.png": (b"", "this file is empty"),
    "text.png": (
        b"not a picture at all, but text " * 9,
        "no picture that can be read; use PNG, JPEG",
    ),
    "zeros.jpg": (bytes(999), "no picture that can be read"),
    "start.png": (b"\x89PNG\r\n\x1a\n", "no PNG picture"),
    "start.jpg": (b"\xff\xd8\xff", "damaged or cut short"),
    "start.gif": (b"GIF89a", "damaged or cut short"),
    "start.webp": (b"RIFF\x10\0\0\0WEBP", "damaged"),
    "start.tif": (b"II*\0", "damaged or cut short"),
    "start.avif": (b"\0\0\0\x1cftypavif" + bytes(50), "damaged or cut short"),
    "start.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(50), "damaged or cut short"),
    "side.png": (png(LARGE, 10), "60000x10 are too large to be read"),
    "bomb.png": (png(LARGE, LARGE), "60000x60000 are too large to be read"),
    "none.png": (png(0, 10), "0x10 is impossible"),
    "side.jpg": (jpeg(LARGE, 10), "60000x10 are too large to be read"),
    "bomb.jpg": (jpeg(10_000, 9_000), "10000x9000 are too large to be read"),
    "bombs.jpg": (jpeg(LARGE, LARGE), "too large to be read .*; make a smaller copy"),
    "bomb.webp": (webp(16_384, 16_384), "16384x16384 are too large to be read"),
    "bomb.gif": (b"GIF89a\xff\xff\xff\xff\0\0\0" + GIF_FRAME, "too large to be read"),
    "bomb.bmp": (bmp(LARGE, LARGE), "too large to be read"),
    "bomb.tif": (tiff(LARGE, LARGE), "too large to be read"),
    "side.tif": (tiff(10, LARGE), "10x60000 are too large to be read"),
    "bomb.ppm": (b"P6 60000 60000 255\n" + bytes(99), "too large to be read"),
    "photo.heic": (
        b"\0\0\0\x18ftypheic" + bytes(50),
        "this is a HEIC picture, which is not read; save",
    ),
    "film.mp4": (b"\0\0\0\x18ftypisom" + bytes(50), "this is a video, not a picture"),
    "film.mkv": (b"\x1a\x45\xdf\xa3" + bytes(50), "this is a video, not a picture"),
    "film.avi": (b"RIFF\0\0\0\0AVI " + bytes(50), "this is a video, not a picture"),
    "page.pdf": (b"%PDF-1.7" + bytes(50), "this is a PDF document, not a picture"),
    "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "this is a PostScript file, not a picture"),
    "a.svg": (b'\xef\xbb\xbf <svg width="9"/>', "this is an SVG drawing, not a picture"),
    "a.psd": (b"8BPS\0\1" + bytes(50), "this is a Photoshop file, not a picture"),
    "a.zip": (b"PK\x03\x04" + bytes(50), "this is an archive, not a picture"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_no_picture_is_said_before_anything_is_decoded(tmp_path: Path, name: str) -> None:
    content, problem = CONTENTS[name]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for read in (probe_still, read_still, read_levels):
            with pytest.raises(MediaError, match=problem) as caught:
                read(path)
            sentence = str(caught.value)
            assert sentence.startswith(f"{path}: ")
            assert sentence.endswith(".")
            assert "\n" not in sentence
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_places_that_hold_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, problem in {
        "": "this is a folder, not a picture; name a file in it",
        "none.png": "there is no such file; check the path",
        "pipe": "a device or a pipe, not a picture",
        "x" * 300: "can't be read|no such file",
        "a\0b": "can't be read|no such file",
    }.items():
        with pytest.raises(MediaError, match=problem):
            read_still(tmp_path / name)
        assert not is_still(tmp_path / name)


MODES: Mapping[str, tuple[Callable[[], Image.Image], tuple[int, int, int]]] = {
    "RGB.png": (corner, RED),
    "RGB.bmp": (corner, RED),
    "RGB.ppm": (corner, RED),
    "RGB.tif": (corner, RED),
    "RGB.jp2": (lambda: Image.new("RGB", (64, 64), RED), RED),
    "RGB.avif": (lambda: Image.new("RGB", (64, 64), RED), RED),
    "P.png": (lambda: corner().quantize(2), RED),
    "P.gif": (lambda: corner().quantize(2), RED),
    "L.png": (lambda: Image.new("L", (6, 4), 77), (77, 77, 77)),
    "1.png": (lambda: Image.new("1", (6, 4), 1), (255, 255, 255)),
    "1.tif": (lambda: Image.new("1", (6, 4), 1), (255, 255, 255)),
    "LA.png": (lambda: Image.new("LA", (6, 4), (77, 255)), (77, 77, 77)),
    "I16.png": (lambda: Image.fromarray(np.full((4, 6), 0x8012, np.uint16)), (128, 128, 128)),
    "I16.tif": (lambda: Image.fromarray(np.full((4, 6), 0x8012, np.uint16)), (128, 128, 128)),
    "CMYK.tif": (lambda: Image.new("CMYK", (6, 4), (0, 255, 255, 0)), (255, 0, 0)),
    "CMYK.jpg": (lambda: Image.new("CMYK", (16, 16), (0, 255, 255, 0)), (255, 0, 0)),
    "RGB.jpg": (lambda: Image.new("RGB", (16, 16), RED), RED),
    "RGB.webp": (lambda: Image.new("RGB", (16, 16), RED), RED),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_rgb(tmp_path: Path, name: str) -> None:
    make, colour = MODES[name]
    picture = make()
    path = saved(tmp_path / name, picture)
    info, still = probe_still(path), read_still(path)
    assert still.pixels.shape == (picture.height, picture.width, 3)
    assert (info.width, info.height) == picture.size
    assert still.pixels.dtype == np.uint8
    near = 0 if path.suffix in (".png", ".bmp", ".ppm", ".tif", ".gif") else 6
    assert np.abs(still.pixels[0, 0].astype(int) - colour).max() <= near
    assert (
        still.notes == info.notes == (("the picture's 16 bits become 8",) if "I16" in name else ())
    )
    assert is_still(path)


def test_what_is_transparent_shows_the_background(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (6, 4), (*RED, 255))
    clear.putpixel((1, 0), (*RED, 0))
    clear.putpixel((2, 0), (*RED, 128))
    indexed = Image.new("P", (6, 4), 0)
    indexed.putpalette([*RED, *BLUE])
    indexed.putpixel((1, 0), 1)
    grey = Image.new("LA", (6, 4), (77, 255))
    grey.putpixel((1, 0), (77, 0))
    paths = {
        saved(tmp_path / "a.png", clear): RED,
        saved(tmp_path / "b.png", indexed, transparency=1): RED,
        saved(tmp_path / "c.png", grey): (77, 77, 77),
        saved(tmp_path / "d.webp", clear, lossless=True, exact=True): RED,
        saved(tmp_path / "e.gif", indexed, transparency=1): RED,
    }
    for path, colour in paths.items():
        white, black = read_still(path), read_still(path, (0, 0, 0))
        assert white.pixels[0, :2].tolist() == [list(colour), [255, 255, 255]], path.name
        assert black.pixels[0, 1].tolist() == [0, 0, 0]
        assert white.notes == ("transparent parts of the picture are shown on white",)
        assert black.notes == ("transparent parts of the picture are shown on black",)
    half = read_still(tmp_path / "a.png", (0, 0, 0)).pixels[0, 2]
    assert half.tolist() == [round(level * 128 / 255) for level in RED]
    assert read_still(tmp_path / "a.png", None).pixels[0, 1].tolist() == list(RED)
    assert read_still(tmp_path / "a.png", (18, 52, 86)).notes[-1].endswith("on #123456")
    opaque = saved(tmp_path / "f.png", Image.new("RGBA", (6, 4), (*RED, 255)))
    assert read_still(opaque).notes == ()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_are_made(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Stored so that the turn brings the red corner to the upper left of an upright 64x32."""
    upright = Image.new("RGB", (64, 32), BLUE)
    upright.paste(RED, (0, 0, 16, 16))
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", stored, exif=exif)
    info, still = probe_still(path), read_still(path)
    assert (info.width, info.height) == (64, 32)
    assert still.pixels.shape == (32, 64, 3)
    assert np.abs(still.pixels.astype(int) - np.asarray(upright)).mean() < 6
    turned = ("the picture is turned as its Exif data say",) * (orientation > 1)
    assert still.notes == info.notes == turned


def test_broken_exif_is_none(tmp_path: Path) -> None:
    for number, exif in enumerate(
        (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0", b"Exif\0\0II*\0")
    ):
        path = saved(tmp_path / f"{number}.jpg", corner((16, 16)), exif=exif)
        assert read_still(path).pixels.shape == (16, 16, 3)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_of_an_animation_the_first_frame_counts(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), (level, 0, 0)) for level in (40, 120, 200)]
    path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    still = read_still(path)
    assert still.pixels.shape == (8, 8, 3)
    assert abs(int(still.pixels[0, 0, 0]) - 40) <= 4
    assert still.notes == ("the picture is the first of several in its file",)
    assert not is_still(path)


def test_numbers_without_bounds_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(np.ones((4, 6), np.float32)))
    with pytest.raises(
        MediaError, match="numbers without bounds, which are not read; save it as RGB"
    ):
        read_still(path)


def test_masks_keep_their_precision(tmp_path: Path) -> None:
    wide = saved(tmp_path / "a.png", Image.fromarray(np.array([[0, 0x8012, 65535]], np.uint16)))
    assert read_levels(wide).tolist() == [pytest.approx([0, 0x8012 / 65535, 1])]
    colours = saved(tmp_path / "b.png", corner((2, 1)))
    assert read_levels(colours)[0, 0] == pytest.approx(82 / 255)  # 0.299 R + 0.587 G + 0.114 B
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    clear.putpixel((1, 0), (255, 255, 255, 51))
    path = saved(tmp_path / "c.png", clear)
    assert read_levels(path, "alpha").tolist() == [pytest.approx([1, 0.2])]
    assert read_levels(path).tolist() == [[0, 1]]
    with pytest.raises(
        MediaError, match="no transparency that could be a mask; use its brightness"
    ):
        read_levels(colours, "alpha")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tif", "a.avif"])
def test_damage_anywhere_is_one_sentence_or_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(next(moving(1, 32, 48))[0]).save(path)
    data, random, refused = path.read_bytes(), np.random.default_rng(1), 0
    for _ in range(80):
        changed = np.frombuffer(data, np.uint8).copy()
        for at in random.integers(0, len(data) if random.random() < 0.5 else 60, 3):
            changed[at] = random.integers(0, 256)
        cut = random.integers(0, len(data)) if random.random() < 0.3 else len(data)
        path.write_bytes(changed[:cut].tobytes())
        try:
            probe_still(path)
            read_still(path)
        except MediaError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 5


def test_nothing_is_said_to_the_terminal(tmp_path: Path) -> None:
    """Warnings of Pillow about large pictures and odd metadata stay inside."""
    (tmp_path / "a.jpg").write_bytes(jpeg(10_000, 9_000))
    (tmp_path / "b.tif").write_bytes(tiff(6, 4)[:150])
    script = (
        "import sys\nfrom wan_core.media.stills import read_still\nfor path in sys.argv[1:]:\n"
        "    try: read_still(path)\n    except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", script, tmp_path / "a.jpg", tmp_path / "b.tif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("MediaError\nMediaError\n", "")


def test_a_video_of_this_room_is_no_picture(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [noise(2)], 16)
    write_video(tmp_path / "a.webm", [noise(2)], 16)
    for name in ("a.mp4", "a.webm"):
        with pytest.raises(MediaError, match="this is a video, not a picture"):
            read_still(tmp_path / name)
