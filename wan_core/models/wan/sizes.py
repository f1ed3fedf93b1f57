"""The sizes and frames that Wan makes of a user's picture or video. Imports no torch.

Sources: Wan-Video/Wan2.1 ``wan/image2video.py``, ``wan/utils/vace_processor.py``; Wan-Video/Wan2.2
``wan/utils/utils.py``. Rounding is theirs, where floating point makes exact cases fall short included.
"""

from __future__ import annotations

import math

import attrs
import numpy as np

LATENT = 8  # pixels per side of a latent
TOKEN = 16  # pixels per side of a token


def image_to_video_size(width: int, height: int, max_area: int) -> tuple[int, int]:
    """Width and height of the video of a picture: its proportions, at most ``max_area`` pixels.

    Wan 2.1 and Wan 2.2 A14B, image to video and first-last-frame to video.
    """
    proportions = height / width
    rows = _even(math.sqrt(max_area * proportions) // LATENT)
    columns = _even(math.sqrt(max_area / proportions) // LATENT)
    return columns * LATENT, rows * LATENT


def picture_size_5b(width: int, height: int, max_area: int, step: int = 32) -> tuple[int, int]:
    """Width and height of the video of a picture for Wan 2.2 TI2V-5B: multiples of ``step``.

    Fixing the width first or the height first gives two candidates; the one nearer to the picture's
    proportions counts, of equals the second.
    """
    ratio = width / height
    wide, high = math.sqrt(max_area * ratio), math.sqrt(max_area / ratio)
    first = int(wide // step * step)
    of_width = (first, int(max_area / first // step * step))
    second = int(high // step * step)
    of_height = (int(max_area / second // step * step), second)

    def strays(size: tuple[int, int]) -> float:
        found = size[0] / size[1]
        return max(ratio / found, found / ratio)

    return of_width if strays(of_width) < strays(of_height) else of_height


@attrs.frozen
class VacePick:
    """Which frames of a video VACE takes, and what it makes of them.

    Attributes:
        frames: their indices, as many as the result has frames.
        width, height: pixels of the result.
        fps: frames per second at which the result lasts as long as the video.
    """

    frames: tuple[int, ...]
    width: int
    height: int
    fps: float


def vace_pick(
    width: int, height: int, frames: int, fps: float, *, tokens: int, max_area: int
) -> VacePick:
    """Choose size and frames of a source video for VACE.

    Args:
        width, height, frames, fps: of the video.
        tokens: the most that the transformer shall have.
        max_area: pixels of a frame.

    Raises:
        ValueError: the video is smaller than a token, has no frames or lasts no time.
    """
    if min(width, height) < TOKEN or frames < 1 or not fps > 0:
        raise ValueError(f"{frames} frames of {width}x{height} at {fps:g} per second are no video")
    area = min(tokens, max_area / TOKEN**2, (height // TOKEN) * (width // TOKEN))
    count = min((frames - 1) // 4 + 1, int(tokens / area))
    area = min(area, int(tokens / count))
    rows = round(math.sqrt(area * height / width))
    columns = int(area / rows)
    made = 4 * (count - 1) + 1
    starts = np.arange(frames, dtype=np.float32) / np.float32(fps)
    ends = np.arange(1, frames + 1, dtype=np.float32) / np.float32(fps)
    duration = float(np.mean([starts[-1], ends[-1]], dtype=np.float32))
    times = np.linspace(0, duration, made)
    shown = (starts[None] <= times[:, None]) & (times[:, None] <= ends[None])
    picked = tuple(int(index) for index in shown.argmax(axis=1))
    return VacePick(picked, columns * TOKEN, rows * TOKEN, made / duration)


def _even(count: float) -> int:
    return int(count // 2 * 2)
