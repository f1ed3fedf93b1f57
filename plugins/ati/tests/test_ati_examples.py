"""The examples: each file of tracks can be read on its picture, and each workflow can be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_core.cli import main

EXAMPLES = Path(__file__).parents[1] / "examples"
WORKFLOWS = sorted(EXAMPLES.glob("*.toml"))
TRACKS = sorted((EXAMPLES / "tracks").iterdir())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_can_be_looked_at(path: Path, tmp_path: Path) -> None:
    assert main(["ati", "preview", str(path), "-o", str(tmp_path / "out.png")]) == 0


@pytest.mark.parametrize("path", TRACKS, ids=lambda path: path.name)
def test_tracks_can_be_read(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = str(EXAMPLES / "pictures" / "ball.png")
    arguments = [str(path), "--picture", picture, "-o", str(tmp_path / "out.png")]
    assert main(["ati", "preview", *arguments]) == 0
    said = capsys.readouterr().out
    assert "note:" not in said.replace("have 13 samples", ""), said
    assert "canvas:  832x480" in said
