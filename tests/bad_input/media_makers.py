"""Pictures and videos that a stage may be given: of odd sizes, kinds and lengths, damaged, or only claimed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from makers import Maker, bundled, make, manifest, manifest_shapes, safetensors, workflow

CLAIMED = 60_000
"""Pixels a side of pictures that are nothing but a header."""


def picture(
    width: int = 96, height: int = 96, mode: str = "RGB", kind: str = "PNG", **how: Any
) -> Maker:
    """A picture of one colour; ``how`` is for Pillow."""

    def write(path: Path) -> None:
        from PIL import Image

        Image.new(mode, (width, height)).save(path, kind, **how)

    return write


def turned(orientation: int) -> Any:
    """Exif data that say how a picture is to be turned, from 1 to 8."""
    from PIL import Image

    data = Image.Exif()
    data[0x0112] = orientation
    return data


def moving_picture(frames: int, kind: str = "GIF", width: int = 96, height: int = 96) -> Maker:
    """An animation."""

    def write(path: Path) -> None:
        from PIL import Image

        pictures = [Image.new("L", (width, height), 40 * i) for i in range(frames)]
        pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=80)

    return write


def cut(maker: Maker, keep: float) -> Maker:
    """The same, of which only the first part is left."""

    def write(path: Path) -> None:
        assert callable(maker)
        maker(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return write


def png_chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def claimed_png(width: int = CLAIMED, height: int = CLAIMED, pixels: int = 100) -> bytes:
    """A PNG file whose header says so; ``pixels`` bytes of them are there, zeros."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = png_chunk(b"IDAT", zlib.compress(bytes(pixels)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + data + png_chunk(b"IEND", b"")


def clip(frames: int, fps: float = 12, width: int = 96, height: int = 96) -> Maker:
    """A video, grey, each frame a little lighter."""

    def write(path: Path) -> None:
        import numpy as np

        from wan_core.media import write_video

        chunks = (np.full((1, height, width, 3), i % 256, np.uint8) for i in range(frames))
        write_video(path, chunks, fps)

    return write


def only_sound(path: Path) -> None:
    """A video's container with a second of silence in it and nothing else."""
    import av
    import numpy as np

    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def no_frames(path: Path) -> None:
    """A video with a stream of pictures, and none in it."""
    import av

    with av.open(str(path), "w", format="matroska") as container:
        stream: Any = container.add_stream("mpeg4", rate=12)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        container.start_encoding()


def text_bomb(path: Path) -> None:
    """A picture with a text in it that is short in the file and long when it is read."""
    picture()(path)
    data = path.read_bytes()
    text = b"comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    path.write_bytes(data[:33] + png_chunk(b"zTXt", text) + data[33:])


# -- workflows and weights ------------------------------------------------------------------------

I2V, T2V = "tiny-i2v", "tiny-t2v"
A14B = {
    "transformer": "wan2.2-i2v-a14b",
    "vae": "wan2.1-vae",
    "text_encoder": "umt5-xxl-encoder",
}
"""Slot -> the manifest of its file."""
WAN21 = {**A14B, "transformer": "wan2.1-i2v-14b", "image_encoder": "clip-vit-h-14-visual"}
WAN22_5B = {**A14B, "transformer": "wan2.2-ti2v-5b", "vae": "wan2.2-vae"}


def given(
    family: str, *lines: str, more: str = "", model: str = "", **files: Maker
) -> dict[str, Maker]:
    """A workflow whose stage has these lines (line 7 and on), and files: ``p__png`` is ``p.png``."""
    text = workflow("\n".join(lines), family=family, model=model)
    if more:
        text = text.replace("[output]", f"{more}\n[output]")
    return {"w.toml": text, **{name.replace("__", "."): made for name, made in files.items()}}


def next_stage(*lines: str) -> str:
    """One more stage."""
    return "\n".join(["[[stages]]", 'use = "generate"', 'prompt = "a circle"', *lines])


def published(
    family: str, files: Mapping[str, str], stage: str = 'image = "p.png"'
) -> dict[str, Maker]:
    """A workflow of a published family with files that are nothing but headers, on line 4 and on."""
    experts, slots = "a14b" in family, []
    made: dict[str, Maker] = {"p.png": picture(832, 480), "t.json": bundled("tokenizer.json")}
    for slot, kind in files.items():
        name = f"{slot}.safetensors"
        made[name] = manifest(kind)
        pair = f'{{ high = "{name}", low = "{name}" }}'
        slots.append(f"{slot} = " + (pair if experts and slot == "transformer" else f'"{name}"'))
    slots.append('tokenizer = "t.json"')
    return {"w.toml": workflow(stage, family=family, model="\n".join(slots)), **made}


def first_tensors(kind: str, count: int) -> Maker:
    """A published checkpoint of which only so many tensors are there."""

    def write(path: Path) -> None:
        shapes = dict(list(manifest_shapes(kind)().items())[:count])
        make(path.parent, {path.name: safetensors(shapes)})

    return write
