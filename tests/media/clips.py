"""Small videos for the tests of formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

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
