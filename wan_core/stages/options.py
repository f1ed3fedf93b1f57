"""Options of the built-in stages. Imports no torch: workflows are read with these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.options import (
    integer,
    number,
    numbers,
    path,
    registered,
    seed,
    source,
    text,
)
from wan_core.sampling import guidance_field

PRESET = "the family's preset"
BY_PICTURE = "as the picture or video that is given, else the family's preset"

MOST_PIXELS = 16384
"""The longest side of a video."""


@attrs.frozen
class SamplingOptions:
    """What every stage says that samples with the standard loop. None: as the family's makers recommend."""

    prompt: str = text(sweep=True, help="what the video shows")
    negative_prompt: str | None = text(
        default=None, unset=PRESET, help="what guidance leads away from"
    )
    width: int | None = integer(16, MOST_PIXELS, default=None, unset=BY_PICTURE, help="pixels")
    height: int | None = integer(16, MOST_PIXELS, default=None, unset=BY_PICTURE, help="pixels")
    frames: int | None = integer(
        1,
        100_000,
        default=None,
        unset="the family's preset; of a shorter video all",
        help="number of frames, 4n + 1",
    )
    steps: int | None = integer(1, 1000, default=None, unset=PRESET, help="sampling steps")
    seed: int = seed(default=0, help="of the noise; the same on every device")
    guidance: Any = guidance_field(unset=PRESET, help="how strongly the prompt leads")
    shift: float | None = number(
        0.01, 100, default=None, unset=PRESET, help="how long the noise stays strong"
    )
    solver: str | None = registered(
        "solver", default=None, unset=PRESET, help="how the noise is taken away"
    )
    sigmas: tuple[float, ...] | None = numbers(
        0,
        1,
        default=None,
        help="noise levels of your own in place of steps and shift, falling, the last one normally 0",
    )
    start_step: int = integer(0, 999, default=0, help="first step of the schedule to run")
    end_step: int | None = integer(
        1, 1000, default=None, help="step of the schedule to stop before"
    )


@attrs.frozen
class GenerateOptions(SamplingOptions):
    """Options of the stage ``generate``."""

    image: str | Path | None = source(
        files=True,
        default=None,
        help="picture that the video begins with; of a video the first frame",
    )
    last_image: str | Path | None = source(
        files=True, default=None, help="picture that it ends with; of a video the first frame"
    )
    continues: str | Path | None = source(
        files=True, default=None, help="video that this one goes on from"
    )
    overlap: int | None = integer(
        1,
        1000,
        default=None,
        unset="as many as the family was trained with",
        help="last frames of it that this one begins with, 4n + 1",
    )
    video: str | Path | None = source(
        files=True, default=None, help="video to be changed, with strength or mask"
    )
    video_start: float = number(0, 1_000_000, default=0.0, help="second of it to begin at")
    strength: float | None = number(
        0.01,
        1,
        default=None,
        unset="0.7; with a mask 1",
        help="how much of it is made anew: the share of the steps that are run",
    )
    mask: Path | None = path(
        default=None, help="picture or video; what is white there is made anew, the rest is kept"
    )
