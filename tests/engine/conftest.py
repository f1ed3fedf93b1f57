"""Workflows on the family of random weights: plumbing, in a second."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import chained
import pytest
from torch import Tensor

from wan_core import Session
from wan_core.contract.events import Event, TaskProgress
from wan_core.engine.unfinished import unfinished
from wan_core.models.encoders import TextEncoder
from wan_core.models.vae import WanVAE
from wan_core.planning import Plan
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


@pytest.fixture
def chaining(tmp_path: Path) -> Iterator[Session]:
    """A session that knows the plugin of ``chained``."""
    chained.made.clear()
    with Session(plugins=chained.PLUGINS, cache=tmp_path / "cache", device="cpu") as chaining:
        yield chaining


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many frames the VAE has decoded, how many it has encoded, and prompts by calls."""
    counted: Counter[str] = Counter()
    decode, encode, text = WanVAE.decode_stream, WanVAE.encode_chunk, TextEncoder.encode

    def decoding(self: WanVAE, *args: Any, **more: Any) -> Iterator[Tensor]:
        for chunk in decode(self, *args, **more):
            counted["decoded"] += chunk.shape[2]
            yield chunk

    def encoding(self: WanVAE, video: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        counted["encoded"] += video.shape[2]
        return encode(self, video, *args, **more)

    def prompts(self: TextEncoder, prompts: Sequence[str]) -> list[Tensor]:
        counted["prompts"] += len(prompts)
        return text(self, prompts)

    monkeypatch.setattr(WanVAE, "decode_stream", decoding)
    monkeypatch.setattr(WanVAE, "encode_chunk", encoding)
    monkeypatch.setattr(TextEncoder, "encode", prompts)
    return counted


class Killed(BaseException):
    """As if the process had been killed: nothing is cleaned up after it."""


@pytest.fixture
def killed(session: Session) -> Callable[..., None]:
    """Run a workflow until a task has done so much, and leave its folder as a killed process would."""

    def killed(workflow: Workflow | Plan, task: str, done: int, stage: str = "generate") -> None:
        def listen(event: Event) -> None:
            if not isinstance(event, TaskProgress) or event.done != done:
                return
            if (event.stage, event.task) == (stage, task):
                for run in unfinished(session.cache):
                    shutil.copytree(run.path, run.path.with_suffix(".copy"))
                raise Killed

        with pytest.raises(Killed):
            session.run(workflow, listen=listen)
        for copy in (session.cache / "runs").glob("*.copy"):
            shutil.rmtree(copy.with_suffix(""), ignore_errors=True)
            copy.rename(copy.with_suffix(""))

    return killed
