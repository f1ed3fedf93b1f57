"""Options of the built-in stages. Imports no torch: workflows are read with these."""

from __future__ import annotations

from typing import Any

import attrs

from wan_core.contract.options import integer, number, numbers, registered, seed, text
from wan_core.sampling import guidance_field

PRESET = "the family's preset"


@attrs.frozen
class GenerateOptions:
    """Options of the stage ``generate``. None means: as the family's makers recommend."""

    prompt: str = text(sweep=True, help="what the video shows")
    negative_prompt: str | None = text(
        default=None, unset=PRESET, help="what guidance leads away from"
    )
    width: int | None = integer(16, 16384, default=None, unset=PRESET, help="pixels")
    height: int | None = integer(16, 16384, default=None, unset=PRESET, help="pixels")
    frames: int | None = integer(
        1, 100_000, default=None, unset=PRESET, help="number of frames, 4n + 1"
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
