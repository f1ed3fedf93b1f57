"""What the parts of the soak share: how much is measured, figures with their bounds, sessions."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from wan_core import Session

Pool = ProcessPoolExecutor


@attrs.frozen
class Extent:
    """How much is measured.

    Attributes:
        prompts: sentences for the text-to-video model.
        clips: clips of each kind for the VAE.
        stride: every so-many-th combination is rendered for the judge.
        variety: clips that are compared with each other.
        first, others: first frames for the image-to-video model, and for everything else it takes.
        tracks: clips whose objects follow tracks.
        lights: clips that are lit anew, of each task.
    """

    prompts: int = 64
    clips: int = 16
    stride: int = 1
    variety: int = 10_000
    first: int = 32
    others: int = 16
    tracks: int = 64
    lights: int = 64


FULL = Extent()
QUICK = Extent(prompts=8, clips=4, stride=17, variety=1000, first=4, others=2, tracks=4, lights=4)


@attrs.frozen
class Check:
    """A figure and its bounds."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    unit: str = ""

    @property
    def ok(self) -> bool:
        """Whether the figure lies within its bounds."""
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )


Figures = tuple[dict[str, Any], list[Check]]


@cache
def session_of(folder: Path) -> tuple[Session, Path]:
    """This process's session, and a folder of its own."""
    own = folder / str(os.getpid())
    return Session(device="cpu", cache=own / "cache"), own
