"""A chain of stages on the command line: picture, then motion, then another colour, on two models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from real_commands import Call

from wan_core.media import probe, read_frames

EXAMPLE = Path(__file__).parents[2] / "examples" / "chain.toml"
SMALL = [
    f"stages.{name}.{key}"
    for name in ("picture", "moving", "blue")
    for key in ("steps=2", "width=32", "height=32")
]
FEWER = [*SMALL, "stages.moving.frames=5", "output.path=clip.mkv"]
SETTINGS = [part for one in FEWER for part in ("-s", one)]
LATENTS = (
    '"moving" hands to "blue" its latents, not decoded and encoded again (other bits than with '
    'handover = "pixels")'
)


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path / EXAMPLE.name


def test_the_plan_shows_what_is_shared_and_handed_on(call: Call, workflow: Path) -> None:
    said = call("plan", workflow, *SETTINGS, "--json")
    plan = json.loads(said.out)["plan"]
    assert plan["Between stages"] == [LATENTS, 'the video of "moving" is never decoded']
    once = [line.partition(":")[0] for line in plan["Files"] if line.endswith("loaded once")]
    assert once == ["draw.text_encoder, move.text_encoder", "draw.vae, move.vae"]
    parts = [line.partition(":")[0] for line in plan["Predicted memory"]]
    assert parts == [
        "picture / text",
        "picture / sampling",
        "picture / decoding",
        "moving / encoding",
        "moving / image tokens",
        "moving / sampling",
        "blue / sampling",
        "blue / decoding",
    ]
    as_text = call("plan", workflow, *SETTINGS).out
    assert f"# Between stages\n#   {LATENTS}\n" in as_text
    pixels = call("plan", workflow, *SETTINGS, "-s", "stages.blue.handover=pixels").out
    assert '"moving" hands to "blue" its pixels, because handover = "pixels"' in pixels
    assert "never decoded" not in pixels


def test_the_chain_runs_and_can_be_repeated(call: Call, workflow: Path, tmp_path: Path) -> None:
    said = call("run", workflow, *SETTINGS, "--json")
    assert said.code == 0, said.err
    events = [json.loads(line) for line in said.out.splitlines()]
    tasks = [(e["stage"], e["task"]) for e in events if e["event"] == "TaskStarted"]
    loads = [task for _, task in tasks if task.startswith("loading")]
    assert sorted(loads) == [
        "loading image encoder",
        "loading text encoder",
        "loading transformer",
        "loading transformer",
        "loading vae",
    ]
    assert ("blue", "encoding video") not in tasks
    video = tmp_path / "clip.mkv"
    assert len(list(read_frames(video))) == 5
    assert 'handover = "latents"' in json.loads(probe(video).comment or "")["workflow"]
    again = call("rerun", video)
    assert again.code == 0, again.err + again.out
