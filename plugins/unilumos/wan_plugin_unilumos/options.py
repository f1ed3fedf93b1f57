"""Options of the stage ``unilumos``. Imports no torch: workflows are read with these."""

from __future__ import annotations

from pathlib import Path

import attrs

from wan_core.contract.options import choice, number, path, source, text
from wan_core.stages import SamplingOptions
from wan_plugin_unilumos.words import light


@attrs.frozen
class RelightOptions(SamplingOptions):
    """What is lit anew, and how. None means: as the family's makers recommend."""

    prompt: str = text(default="", sweep=True, help="what the video shows in its new light")
    direction: str | None = light("direction")
    light_source: str | None = light("light_source")
    intensity: str | None = light("intensity")
    color_temperature: str | None = light("color_temperature")
    changes: str | None = light("changes")
    phenomena: str | None = light("phenomena")
    video: str | Path | None = source(
        files=True,
        default=None,
        unset="no foreground: the background and the words alone lead",
        help="video or picture that is lit anew, its own background included",
    )
    background: str | Path | None = source(
        files=True,
        default=None,
        unset="the words alone say how it is lit",
        help="video or picture of the new surroundings, whose light falls on the subject",
    )
    mask: Path | None = path(
        default=None,
        unset="the background is taken as it is",
        help="picture or video of the foreground's subject, white; in the background it becomes noise",
    )
    missing: str = choice(
        "grey",
        "zero",
        default="grey",
        help="what stands for a foreground or background that is not given: grey frames, as the makers "
        "have it, or latents of zeros, as the WanVideoWrapper has it",
    )
    frame_choice: str | None = choice(
        "own",
        "rate",
        "upstream",
        default=None,
        unset="own for what an earlier stage makes, rate for files",
        help="which frames of a video are taken: its own from the first on, those at the family's rate, or by "
        "the makers' rule, which leaves out up to 10 at both ends and repeats frames of short videos",
    )
    duration: float | None = number(
        0.01,
        10_000,
        default=None,
        help="seconds in place of frames; the makers say 4",
    )
