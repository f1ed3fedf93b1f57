"""The probes' models are compiled when their workflow says so, with no line of theirs for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from wan_core import Session
from wan_core.contract.events import Event, Note
from wan_core.media import read_frames
from wan_core.memory import compiled
from wan_core.plugins import Plugins
from wan_core.workflow import parse_workflow

PROMPT = 'prompt = "a circle"'
PROBES = {
    "ovi": ("ovi-probe", "ovi-probe-generate", PROMPT),
    "longcat": ("longcat-random", "longcat-segments", f"{PROMPT}\nsegments = 2"),
    "flashvsr": (
        "upscale-probe-random",
        "upscale-probe",
        'video = "first.video"\nsparse_ratio = 0.05',
    ),
}
TEXT = """
format = 1
[models.main]
family = "{family}"
compile = {compile}
[models.small]
family = "tiny-random"
[[stages]]
use = "generate"
name = "first"
model = "small"
prompt = "a circle"
width = 32
height = 32
frames = 29
[[stages]]
use = "{stage}"
model = "main"
{more}
[output]
path = "out.mkv"
overwrite = true
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch._dynamo.reset()
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "/nowhere")
    monkeypatch.setattr(compiled, "BACKEND", lambda graph, inputs: graph)
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_is_compiled(name: str, tmp_path: Path) -> None:
    plugins = Plugins.discover(modules=[f"tests.seams.{name}.plugin"])
    family, stage, more = PROBES[name]
    frames, notes = {}, []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    with Session(plugins=plugins, device="cpu") as session:
        for compile_it in ("false", "true"):
            text = TEXT.format(family=family, stage=stage, more=more, compile=compile_it)
            workflow = parse_workflow(text, name="t.toml", folder=tmp_path, plugins=plugins)
            (path,) = session.run(workflow, listen=listen).outputs
            frames[compile_it] = np.stack(list(read_frames(path))).astype(int)
    assert abs(frames["true"] - frames["false"]).max() <= 1
    assert not [note for note in notes if "failed" in note]
    assert sum("compiled in" in note for note in notes) == 1
