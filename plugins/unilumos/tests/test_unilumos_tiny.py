"""The bundled family: an even clip is lit from where the words say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import wan_core
from wan_core.media import read_frames, write_video

SIDE, FRAMES = 96, 33
RADIUS = 20
AT = SIDE / 2


def disc() -> np.ndarray:
    """A red disc on gray that stays still, ``[frames, height, width, 3]`` uint8."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    inside = (x - AT) ** 2 + (y - AT) ** 2 < RADIUS**2
    frame = np.where(inside[..., None], np.uint8([232, 24, 24]), np.uint8([128, 128, 128]))
    return np.repeat(frame[None], FRAMES, 0)


def slope(clip: np.ndarray) -> tuple[float, float]:
    """How brightness rises inside of the disc, to the right and downwards."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - AT
    inside = x**2 + y**2 < (0.8 * RADIUS) ** 2
    brightness = clip[..., 0].mean(0)[inside]
    return float((brightness * x[inside]).mean()), float((brightness * y[inside]).mean())


@pytest.mark.parametrize(
    ("words", "degrees"), [("left", 180), ("right", 0), ("top", 270), ("bottom", 90)]
)
def test_light_comes_from_where_the_words_say(words: str, degrees: int, tmp_path: Path) -> None:
    write_video(tmp_path / "given.mkv", [disc()], 12)
    text = f"""
format = 1
model = {{ family = "tiny-unilumos" }}
output = {{ path = "relit.mkv" }}
[[stages]]
use = "unilumos"
video = "given.mkv"
prompt = "a large red circle stays still on a gray background, lit from the {words}"
seed = 5
steps = 8
"""
    with wan_core.Session(device="cpu", cache=tmp_path / "cache") as session:
        (path,) = session.run(wan_core.parse_workflow(text, folder=tmp_path)).outputs
    clip = np.stack([frame.copy() for frame in read_frames(Path(path))]).astype(np.float64)
    across, down = slope(clip)
    towards = math.radians(degrees)
    along = across * math.cos(towards) + down * math.sin(towards)
    assert along > 0.9 * math.hypot(across, down) > 0
