"""What broken files are made of. A maker writes one file (or folder, or link) at a path.

Nothing here imports torch or PyAV before a file that needs them is made.
"""

from __future__ import annotations

import gzip
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

Maker = str | bytes | Callable[[Path], object]
"""A text, bytes, or a function that makes what is at a path."""

MANIFESTS = Path(__file__).parents[1] / "golden" / "manifests"
WORKFLOW = """\
{head}
{model}
[[stages]]
use = "generate"
prompt = "a circle"
{stage}
[output]
path = "clip.mp4"
{output}
"""
BYTES = {"F8_E4M3": 1, "F32": 4, "BF16": 2, "F16": 2, "U8": 1, "I64": 8}


def make(folder: Path, files: Mapping[str, Maker]) -> None:
    """Make all ``files`` (path -> maker) in a folder."""
    for name, maker in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(maker, str):
            path.write_text(maker, encoding="utf-8")
        elif isinstance(maker, bytes):
            path.write_bytes(maker)
        else:
            maker(path)


def workflow(
    stage: str = "",
    *,
    head: str = "format = 1",
    family: str = "tiny-random",
    model: str = "",
    output: str = "",
) -> str:
    """A workflow that is right but for what is put into it.

    The family stands on line 3, the prompt on line 6, and ``stage`` on line 7, one more for each line of
    ``model``.
    """
    table = f'[model]\nfamily = "{family}"' + (f"\n{model}" if model else "")
    return WORKFLOW.format(head=head, model=table, stage=stage, output=output)


REAL = "wan2.1-t2v-1.3b"


def transformer(name: str = "m.safetensors") -> str:
    """A workflow whose transformer (line 4) is a file."""
    return workflow(family=REAL, model=f'transformer = "{name}"')


def vae(name: str = "m.safetensors") -> str:
    """A workflow with the bundled model but for its VAE (line 4)."""
    return workflow(family="tiny-t2v", model=f'vae = "{name}"')


def text_encoder(name: str = "m.safetensors") -> str:
    """A workflow with the bundled model but for its text encoder (line 4)."""
    return workflow(family="tiny-t2v", model=f'text_encoder = "{name}"')


def tokenizer(name: str = "t.json") -> str:
    """A workflow with the bundled model but for its tokenizer (line 4)."""
    return workflow(family="tiny-t2v", model=f'tokenizer = "{name}"')


# -- weight files -------------------------------------------------------------------------------


def safetensors(shapes: Mapping[str, Sequence[int]], dtype: str = "BF16", **metadata: str) -> Maker:
    """A safetensors file with these tensors, all zero: as long as it says, and taking no room."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin = end
        end += BYTES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    return header_only(json.dumps(header), end)


def header_only(text: str, data: int = 0) -> Maker:
    """A safetensors file with this text as header and that many bytes of zeros."""
    start = len(text.encode()).to_bytes(8, "little") + text.encode()

    def write(path: Path) -> None:
        path.write_bytes(start)
        with path.open("r+b") as file:
            file.truncate(len(start) + data)

    return write


Shapes = Mapping[str, Sequence[int]]


def manifest_shapes(name: str) -> Callable[[], Shapes]:
    """Names and shapes of a published checkpoint, when they are asked for."""
    return lambda: json.loads(gzip.decompress((MANIFESTS / f"{name}.json.gz").read_bytes()))


def manifest(name: str) -> Maker:
    """A published checkpoint: all its names and shapes, and zeros."""

    def write(path: Path) -> None:
        make(path.parent, {path.name: safetensors(manifest_shapes(name)())})

    return write


def bundled(name: str, *, keep: int | None = None, flip: int | None = None) -> Maker:
    """One of the tiny model's files, cut to its first ``keep`` bytes or with byte ``flip`` changed."""

    def write(path: Path) -> None:
        import wan_core

        data = bytearray((Path(wan_core.__file__).parent / "models" / "tiny" / name).read_bytes())
        if flip is not None:
            data[flip] ^= 0xFF
        path.write_bytes(data[:keep])

    return write


def sparse(size: int, start: bytes = b"") -> Callable[[Path], None]:
    """A file of ``size`` bytes that begins with ``start``; the rest is zeros and takes no room."""

    def write(path: Path) -> None:
        path.write_bytes(start)
        with path.open("r+b") as file:
            file.truncate(size)

    return write


def index(shards: Mapping[str, str]) -> str:
    """An index of shards: tensor -> file name."""
    return json.dumps({"metadata": {}, "weight_map": shards})


def pickle_with_code(path: Path) -> None:
    """A ``.pth`` that would make the file ``hacked`` if its code ran."""
    code = b"cposix\nsystem\n(S'touch hacked'\ntR."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def pickled(value: Callable[[], object]) -> Maker:
    """What ``torch.save`` makes of a value."""

    def write(path: Path) -> None:
        import torch

        torch.save(value(), path)

    return write


def gguf(
    shapes: Shapes | Callable[[], Shapes] | None = None,
    architecture: str = "wan",
    *,
    version: int = 3,
    claims: int | None = None,
    types: Mapping[str, int] | None = None,
) -> Maker:
    """A GGUF file with these tensors, all zero; or one that claims to have so many.

    Args:
        types: name of a tensor -> number of its type, of at most 16 bits a value; float16 otherwise.
    """

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def write(path: Path) -> None:
        held = shapes() if callable(shapes) else shapes or {}
        head = [b"GGUF", struct.pack("<IQQ", version, claims or len(held), 1)]
        head += [text("general.architecture"), struct.pack("<I", 8), text(architecture)]
        end = 0
        for name, shape in held.items():
            sizes = shape[::-1]
            head += [text(name), struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)]
            head += [struct.pack("<IQ", (types or {}).get(name, 1), end)]
            end += -(-2 * prod(shape) // 32) * 32
        start = b"".join(head)
        sparse(-(-len(start) // 32) * 32 + end, start)(path)

    return write


# -- videos and pictures ------------------------------------------------------------------------


def video(comment: str | None = None, *, frames: int = 2) -> Maker:
    """A video of so many black frames with this comment in it."""

    def write(path: Path) -> None:
        import numpy as np

        from wan_core.media import write_video

        write_video(path, [np.zeros((frames, 32, 32, 3), np.uint8)], 8, comment=comment)

    return write


def record(text: str | None = None, **changes: object) -> str:
    """What a video of wan-core says of itself, with some of it changed (None leaves it out)."""
    fields: dict[str, object] = {
        "made_by": "wan-core 0.1.0",
        "format": 1,
        "name": "w.toml",
        "workflow": workflow() if text is None else text,
        "workflow_sha256": "0" * 64,
        "seeds": {"generate": 0},
        "weights": {},
        "inputs": {},
        "versions": {},
        "machine": {},
    }
    fields.update(changes)
    return json.dumps({key: value for key, value in fields.items() if value is not None})


def picture_of(width: int, height: int) -> Callable[[Path], None]:
    """A black PNG picture."""

    def write(path: Path) -> None:
        from PIL import Image

        Image.new("RGB", (width, height)).save(path, "PNG")

    return write


picture = picture_of(8, 8)


def picture_that_claims(width: int, height: int) -> bytes:
    """The start of a PNG picture that says it is so large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return data + struct.pack(">I", zlib.crc32(header))


# -- things that are no files -------------------------------------------------------------------


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    import os

    os.mkfifo(path)


def link(target: str) -> Maker:
    """A link that leads to ``target``."""
    return lambda path: path.symlink_to(target)


def unigram(pieces: int) -> str:
    """A ``tokenizer.json`` of so many pieces."""
    vocabulary = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0]]
    vocabulary += [[f"w{number}", -1.0] for number in range(pieces - 3)]
    model = {"type": "Unigram", "unk_id": 2, "vocab": vocabulary}
    return json.dumps({"version": "1.0", "added_tokens": [], "model": model})
