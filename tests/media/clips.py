"""Small videos for the tests of formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wan_core.media import write_video

# a name for each format
NAMES = ("a.mp4", "a.webm", "a.mkv", "a.webp", "a.gif", "a/%05d.png")


def moving(frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Smooth colours on the move, a frame a chunk: ``[1, height, width, 3]``."""
    y, x = np.mgrid[:height, :width]
    for index in range(frames):
        red = 128 + 100 * np.sin(x / 20 + index / 9)
        green = 128 + 100 * np.sin(y / 15 + index / 7)
        blue = (x + y + 3 * index) / (height + width) * 200 + 10
        yield np.stack([red, green, blue], -1).clip(0, 255).astype(np.uint8)[None]


def noise(frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    """What can't be compressed."""
    return np.random.default_rng(0).integers(0, 255, (frames, height, width, 3), dtype=np.uint8)


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of a video: of its file, or of all files in its folder."""
    files = sorted(path.parent.iterdir()) if "%" in path.name else [path]
    return {one.name if "%" in path.name else "": one.read_bytes() for one in files}


def numbered(count: int, height: int = 16, width: int = 24) -> np.ndarray:
    """Frames that survive compression: the number in base 4, as four bars of grey."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    for bar in range(4):
        digit = np.arange(count) // 4**bar % 4
        frames[:, :, bar * width // 4 : (bar + 1) * width // 4] = (30 + 60 * digit)[
            :, None, None, None
        ]
    return frames


def number(frame: np.ndarray) -> int:
    bars = np.array_split(frame.mean(axis=(0, 2)), 4)
    digits = [round((float(bar.mean()) - 30) / 60) for bar in bars]
    return sum(digit * 4**place for place, digit in enumerate(digits))


def film(path: Path, count: int = 48, fps: float = 16, chunk: int = 100) -> Path:
    frames = numbered(count)
    write_video(path, (frames[at : at + chunk] for at in range(0, count, chunk)), fps)
    return path
