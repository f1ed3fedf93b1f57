"""Files of pictures written by hand, that say of themselves what no encoder would."""

from __future__ import annotations

import struct
import zlib


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(min(height * (3 * width + 1), 10**6))))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + png_chunk(b"IEND", b"")


def webp(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    parts = [(b"VP8X", b"\x02\0\0\0" + size), *chunks]
    body = b"".join(n + struct.pack("<I", len(d)) + d + b"\0" * (len(d) % 2) for n, d in parts)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def anmf(
    x: int, y: int, width: int, height: int, data: bytes, flags: int = 0
) -> tuple[bytes, bytes]:
    numbers = (x // 2, y // 2, width - 1, height - 1, 100)
    return b"ANMF", b"".join(n.to_bytes(3, "little") for n in numbers) + bytes((flags,)) + data


GIF = b"GIF89a\x04\x00\x04\x00\x80\x00\x00" + b"\0\0\0\xff\xff\xff"
GIF_FRAME = b"\x2c\0\0\0\0\x04\0\x04\0\0\x02\x05\x84\x8f\xa9\xcb\x5d\0"
