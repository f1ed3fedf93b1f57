"""The soak of tracks: what it gives to the product, and what it makes of the answer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo import soak_tracks
from zoo.checks import Check, Extent
from zoo.product import workflow_text
from zoo.track_test import FIRST_SEED, scenes_for, sentences
from zoo.world import render
from zoo.world.kinds import tracked

EXTENT = Extent(tracks=4)


class SameProcess:
    """A pool of no processes."""

    map = map


def checked(monkeypatch: pytest.MonkeyPatch, folder: Path, product: Any) -> list[Check]:
    monkeypatch.setattr(soak_tracks, "session_of", lambda folder: (None, folder))
    monkeypatch.setattr(soak_tracks, "video_of", product)
    pool: Any = SameProcess()
    _, checks = soak_tracks.check_tracks(pool, EXTENT, folder)
    return checks


def truth(number: int) -> Tensor:
    scene = {name: value[number : number + 1] for name, value in scenes_for(4).items()}
    return ((render(tracked.TRACKED, scene)[0] + 1) * 127.5).round().byte()


def perfect(session: None, prompt: str, seed: int, folder: Path, **options: Any) -> Tensor:
    """What was asked for where there are tracks, else a picture that stands still."""
    number = seed - FIRST_SEED
    assert prompt == sentences(scenes_for(4))[number]
    assert (options["family"], options["image"]) == ("tiny-ati", "first.png")
    clip = truth(number)
    if not options["apply"]:
        return clip[:, :1].expand(-1, 33, -1, -1)
    assert options["apply"] == [{"use": "ati", "tracks": "tracks.toml"}]
    drawing = tomllib.loads((folder / "tracks.toml").read_text())
    assert drawing["units"] == "pixels"
    assert [len(track["points"]) for track in drawing["tracks"]] == [33] * (2 if number == 3 else 1)
    return clip


def still(session: None, prompt: str, seed: int, folder: Path, **options: Any) -> Tensor:
    return truth(seed - FIRST_SEED)[:, :1].expand(-1, 33, -1, -1)


def test_a_product_that_follows_tracks_passes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checks = checked(monkeypatch, tmp_path, perfect)
    assert [check.name for check in checks] == ["tracks: mean distance", "tracks: of that without"]
    assert all(check.ok for check in checks)
    assert checks[0].value < 1


def test_a_product_that_stands_still_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mean, share = checked(monkeypatch, tmp_path, still)
    assert not mean.ok and mean.value > 5
    assert share.value == pytest.approx(100) and not share.ok


def test_the_workflow_holds_the_feature() -> None:
    text = workflow_text(
        {"prompt": 'a "b"', "seed": 1, "apply": [{"use": "ati", "tracks": "t.toml"}]}, "f", "o.mkv"
    )
    (stage,) = tomllib.loads(text)["stages"]
    assert stage["prompt"] == 'a "b"' and stage["apply"] == [{"use": "ati", "tracks": "t.toml"}]
    assert "apply" not in workflow_text({"seed": 1, "apply": []}, "f", "o.mkv")


def test_the_plugin_reads_the_track_file(tmp_path: Path) -> None:
    files = pytest.importorskip("wan_plugin_ati.files")
    tracks = torch.rand(33, 2, 3) * 90
    path = tmp_path / "tracks.toml"
    path.write_text(soak_tracks.tracks_text(tracks))
    drawing = files.read_tracks(path)
    assert drawing.units == "pixels" and len(drawing.tracks) == 2
    found = torch.stack([torch.from_numpy(track.points) for track in drawing.tracks], 1)
    assert torch.allclose(found, tracks[..., :2], atol=1e-3)
