"""The command line with the real engine, on the family of random weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wan_core.cli import main

sys.path.insert(0, str(Path(__file__).parent))  # for real_commands, whatever the import mode

from real_commands import TEXT, Call, Said, Write


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``wan-core`` in this process."""

    def call(*arguments: str | Path) -> Said:
        code = main([str(one) for one in arguments])
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    return call


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a workflow into the current folder, which is an empty one."""
    monkeypatch.chdir(tmp_path)

    def write(
        name: str = "w.toml", *, stage: str = "", path: str = "clip.mp4", output: str = ""
    ) -> Path:
        text = TEXT.format(stage=stage, path=path, output=output)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write
