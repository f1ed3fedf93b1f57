"""Features are told how large the pictures and videos are themselves that their stage is given."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import given_families
import numpy as np
import pytest
from given_families import workflow_text
from PIL import Image

from wan_core import Session
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Description, Feature
from wan_core.hookspecs import hookimpl
from wan_core.media import write_video
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

WAN_CORE_CONTRACT = CONTRACT_VERSION
I2V, T2V = "wan2.1-i2v-14b-480p", "wan2.1-t2v-1.3b"
told: dict[str, dict[str, tuple[int, int]]] = {}


@attrs.frozen
class NoOptions:
    """A feature without options."""


def check(request: Any) -> None:
    told["check"] = dict(request.pictures)


@hookimpl
def wan_register() -> Sequence[Description]:
    return [Feature("sizes", "", f"{__name__}:NoOptions", check=f"{__name__}:check")]


@hookimpl
def wan_condition(request: Any, conditioning: Any) -> None:
    told["condition"] = dict(request.pictures)


@hookimpl
def wan_post_process(source: Any, request: Any) -> None:
    told["post"] = dict(request.pictures)


@pytest.mark.parametrize(
    ("family", "given", "sizes"),
    [
        (T2V, (), {}),
        (I2V, ("image",), {"image": (50, 40)}),
        (I2V, ("image", "last_image"), {"image": (50, 40), "last_image": (24, 72)}),
        (I2V, ("continues",), {"continues": (64, 48)}),
        (T2V, ("video",), {"video": (64, 48)}),
    ],
)
def test_sizes_are_those_before_fitting(
    tmp_path: Path, family: str, given: tuple[str, ...], sizes: dict[str, tuple[int, int]]
) -> None:
    files = {"image": "a.png", "last_image": "b.png", "continues": "c.mkv", "video": "c.mkv"}
    Image.new("RGB", (50, 40), "red").save(tmp_path / "a.png")
    Image.new("RGB", (24, 72), "blue").save(tmp_path / "b.png")
    write_video(tmp_path / "c.mkv", [np.zeros((9, 48, 64, 3), np.uint8)], 16)
    module = sys.modules[__name__]
    core = next(iter(installed_entry_points()))
    others = {"given": given_families, "sizes": module}
    plugins = Plugins([core, *(Found(n, n, "1", lambda m=m: m) for n, m in others.items())])
    options = {name: files[name] for name in given}
    text = workflow_text(family, tmp_path / "o.mkv", width=32, height=32, **options)
    workflow = parse_workflow(
        f'{text}[[stages.apply]]\nuse = "sizes"\n', folder=tmp_path, plugins=plugins
    )
    told.clear()
    with Session(plugins=plugins, cache=tmp_path / "cache") as session:
        session.run(workflow)
    assert told == dict.fromkeys(("check", "condition", "post"), sizes)
