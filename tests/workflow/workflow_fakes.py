"""A plugin with a bit of everything, so that these tests need nothing that is installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Literal

import attrs

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import (
    AttentionBackend,
    Component,
    Family,
    Feature,
    Preset,
    Solver,
    Stage,
)
from wan_core.contract.options import (
    choice,
    flag,
    integer,
    number,
    numbers,
    path,
    registered,
    seed,
    source,
    text,
)
from wan_core.hookspecs import hookimpl
from wan_core.plugins import Found, Plugins

WAN_CORE_CONTRACT = CONTRACT_VERSION


@attrs.frozen
class GenerateOptions:
    prompt: str = text(2000, min_length=1, help="what the video shows")
    negative_prompt: str | None = text(2000, default=None, unset="the family's preset")
    width: int | None = integer(16, 16384, default=None, unset="the family's preset")
    height: int | None = integer(16, 16384, default=None, unset="the family's preset")
    frames: int | None = integer(1, 100_000, default=None, unset="the family's preset")
    steps: int | None = integer(1, 1000, default=None, unset="the family's preset")
    seed: int = seed(default=0)
    guidance: float | tuple[float, float] | None = None
    sigmas: tuple[float, ...] | None = numbers(0, 1, default=None)
    shift: float | None = number(0.01, 1000, default=None)
    solver: str | None = registered("solver", default=None)
    image: Path | None = path(default=None)


@attrs.frozen
class UpscaleOptions:
    video: str | Path = source(files=True, help="what is upscaled")
    factor: Literal[2, 4] = 2
    tiled: bool = flag(default=False)


@attrs.frozen
class JoinOptions:
    video: str = source()
    audio: str | None = source(default=None)


@attrs.frozen
class Point:
    x: float
    y: float
    label: str = ""


@attrs.frozen
class AtiOptions:
    tracks: Path
    strength: float = number(0, 10, default=1.0)
    points: tuple[Point, ...] = ()
    names: Mapping[str, int] = attrs.field(factory=dict)
    mode: str = choice("soft", "hard", default="soft")
    corner: tuple[int, int] | None = None
    centre: Point | tuple[float, ...] | None = None


@attrs.frozen
class NoOptions:
    pass


@attrs.frozen
class PickyOptions:
    start: int = 0
    end: int = 1

    def __attrs_post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"end ({self.end}) must come after start ({self.start})")
        if self.end == 13:
            raise KeyError("thirteen")


@attrs.frozen
class OddOptions:
    values: set[int] = attrs.field(factory=set)


@attrs.frozen
class TreeOptions:
    child: TreeOptions | None = None
    size: tuple[int, str] = (1, "m")
    mark: Color | None = None


class Color(Enum):
    RED = "red"


@attrs.frozen
class ReservedOptions:
    model: str = ""


def _family(name: str, stages: Sequence[str], *slots: str) -> Family:
    preset = Preset(832, 480, 81, 16, 50, 5.0, 5.0)
    parts = {slot: Component(slot, "nowhere:load") for slot in slots}
    return Family(name, name, "text-to-video", parts, preset, tuple(stages))


def _stage(name: str, options: str, *outputs: str) -> Stage:
    return Stage(name, name, f"{__name__}:{options}", "nowhere:run", outputs)


def _feature(name: str, options: str) -> Feature:
    return Feature(name, name, options if ":" in options else f"{__name__}:{options}")


@hookimpl
def wan_register() -> Sequence[object]:
    slots = ("transformer", "vae", "text_encoder")
    return [
        _family("tiny-t2v", ("generate",), *slots),
        _family("wan2.1-t2v-14b", ("generate",), *slots),
        _family("flashvsr", ("upscale",), "transformer", "vae"),
        _stage("generate", "GenerateOptions", "video"),
        _stage("upscale", "UpscaleOptions", "video"),
        _stage("join", "JoinOptions", "video", "audio"),
        _stage("silent", "NoOptions"),
        _stage("reserved", "ReservedOptions", "video"),
        _feature("ati", "AtiOptions"),
        _feature("plain", "NoOptions"),
        _feature("picky", "PickyOptions"),
        _feature("odd", "OddOptions"),
        _feature("tree", "TreeOptions"),
        _feature("gone", "no_such_module:Options"),
        Solver("unipc", "", "nowhere:build"),
        Solver("euler", "", "nowhere:build"),
        AttentionBackend("sdpa", "", "nowhere:build"),
        AttentionBackend("sage", "", "nowhere:build"),
    ]


PLUGINS = Plugins([Found("fake", "wan-plugin-fake", "1.0", lambda: sys.modules[__name__])])
assert not PLUGINS.problems, PLUGINS.problems
