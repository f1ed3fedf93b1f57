"""Workflows on the family of random weights: plumbing, in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import Workflow, parse_workflow

TEXT = """
format = 1
[model]
family = "tiny-random"
[[stages]]
use = "generate"
prompt = "a circle"
{more}
[output]
path = "out.mp4"
overwrite = true
"""

Make = Callable[..., Workflow]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(more: str = "", plugins: Plugins | None = None, text: str = TEXT) -> Workflow:
        return parse_workflow(
            text.format(more=more), name="test.toml", folder=tmp_path, plugins=plugins
        )

    return make


@pytest.fixture
def plugins_with() -> Callable[..., Plugins]:
    """The core and the given plugin objects, named ``one``, ``two`` …"""
    core = next(iter(installed_entry_points()))

    def plugins_with(**others: object) -> Plugins:
        def found(name: str, plugin: object) -> Found:
            return Found(name, f"wan-plugin-{name}", "1.0", lambda: plugin)

        return Plugins([core, *(found(name, plugin) for name, plugin in others.items())])

    return plugins_with
