"""Where a run writes, what it never replaces, and what its video says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_commands import Call, Write

from wan_core.media import probe, read_frames


def test_an_existing_video_is_replaced_only_when_that_is_said(
    call: Call, write: Write, tmp_path: Path
) -> None:
    workflow = write()
    assert call("run", workflow).code == 0
    before = (tmp_path / "clip.mp4").read_bytes()
    refused = call("run", workflow, "-s", "stages.0.seed=1")
    assert refused.code == 7
    assert "w.toml, line 9, output.path: " in refused.err
    assert "exists already" in refused.err
    assert "--overwrite" in refused.err
    assert (tmp_path / "clip.mp4").read_bytes() == before
    assert call("run", workflow, "-s", "stages.0.seed=1", "--overwrite").code == 0
    assert (tmp_path / "clip.mp4").read_bytes() != before
    assert call("run", write(output="overwrite = true")).code == 0


@pytest.mark.parametrize(
    "name", ["clip.webm", "clip.mkv", "clip.gif", "clip.webp", "clip/%05d.png"]
)
def test_every_format_is_written_and_says_how_it_was_made(
    call: Call, write: Write, tmp_path: Path, name: str
) -> None:
    assert call("run", write(path=name, stage="seed = 3")).code == 0
    info = probe(tmp_path / name)
    assert (info.width, info.height, info.frames) == (32, 32, 5)
    record = json.loads(info.comment or "")
    assert record["seeds"] == {"generate": 3}
    assert "a circle" in record["workflow"]
    assert len(list(read_frames(tmp_path / name))) == 5


@pytest.mark.parametrize(
    ("kind", "prompt", "seeds"), [("hashes", False, True), ("none", False, False)]
)
def test_prompts_are_private_where_that_is_wanted(
    call: Call, write: Write, tmp_path: Path, kind: str, prompt: bool, seeds: bool
) -> None:
    assert call("run", write(output=f'provenance = "{kind}"')).code == 0
    comment = probe(tmp_path / "clip.mp4").comment or ""
    assert ("circle" in comment, "seeds" in comment) == (prompt, seeds)
    assert b"circle" not in (tmp_path / "clip.mp4").read_bytes()


def test_a_sweep_writes_them_all_and_a_contact_sheet(
    call: Call, write: Write, tmp_path: Path
) -> None:
    said = call("run", write(path="{name}-{seed}.mp4"), "-s", "stages.0.seed=1,2,3")
    assert said.code == 0
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == ["w-1.mp4", "w-2.mp4", "w-3.mp4", "w-sheet.png", "w.toml"]
    lines = [line.split()[:2] for line in said.out.strip().splitlines()]
    assert lines == [["seed", "1"], ["seed", "2"], ["seed", "3"], ["contact", "sheet"]]


def test_mistakes_in_one_run_of_a_sweep_are_told_before_the_first(
    call: Call, write: Write, tmp_path: Path
) -> None:
    workflow = write(path="{prompt}.mp4", stage="seed = [1, 2]")
    (tmp_path / "a-circle-2.mp4").touch()
    said = call("run", workflow)
    assert said.code == 7
    assert "a-circle-2.mp4 exists already" in said.err
    assert not (tmp_path / "a-circle-1.mp4").exists()


def test_json_of_a_sweep_ends_with_what_came_of_it(
    call: Call, write: Write, tmp_path: Path
) -> None:
    said = call("run", write(), "-s", "stages.0.seed=1,2", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert events[-1] == {
        "event": "SweepFinished",
        "outputs": [str(tmp_path / "clip-1.mp4"), str(tmp_path / "clip-2.mp4")],
        "failed": 0,
        "sheet": str(tmp_path / "w-sheet.png"),
    }


def test_plan_shows_the_first_run_of_a_sweep_and_all_names(call: Call, write: Write) -> None:
    said = call("plan", write(), "-s", "stages.0.seed=1,2")
    assert said.code == 0
    assert "seed = 1\n" in said.out
    assert "# Sweep of 2 runs\n#   seed 1: " in said.out
    assert said.out.rstrip().endswith("clip-2.mp4")
