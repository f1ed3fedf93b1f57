"""Options of the feature ``vace``. Imports no torch: workflows are read with these."""

from __future__ import annotations

from pathlib import Path

import attrs

from wan_core.contract.options import number, numbers, path, paths, source

MOST_REFERENCES = 8
"""Each costs as much as four frames of the video; VACE was trained with few."""


@attrs.frozen
class VaceOptions:
    """Options of the feature ``vace``: one context for the transformer."""

    video: str | Path | None = source(
        files=True,
        default=None,
        unset="nothing is given, all is made anew",
        help="video that is followed (depth, poses, lines …) or changed",
    )
    video_start: float = number(
        0, 1_000_000, default=0.0, help="second of it, and of a mask that is a video, to begin at"
    )
    mask: Path | None = path(
        default=None,
        unset="all of the video is made anew, led by it",
        help="picture or video; what is white there is made anew, the rest is kept",
    )
    references: tuple[Path, ...] = paths(
        MOST_REFERENCES, default=(), help="pictures of what the video shows, each in whole on white"
    )
    strength: tuple[float, ...] = numbers(
        0,
        10,
        default=1.0,
        help="how strongly it leads; of a list one number a step, the last one goes on",
    )
    start: float = number(0, 1, default=0.0, help="part of the run after which it begins to lead")
    end: float = number(0, 1, default=1.0, help="part of the run after which it ends")
