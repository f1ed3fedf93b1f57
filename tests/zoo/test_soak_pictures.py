"""The soak of the image-to-video model: what it gives to the product, and what it makes of the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from wan_core import Session
from zoo import soak_pictures
from zoo.checks import Check, Extent
from zoo.product import read_clip, workflow_text
from zoo.world.captions import indices_of

EXTENT = Extent(first=3, others=2)


class SameProcess:
    """A pool of no processes."""

    map = map


def checked(monkeypatch: pytest.MonkeyPatch, folder: Path, product: Any) -> list[Check]:
    monkeypatch.setattr(soak_pictures, "session_of", lambda folder: (None, folder))
    monkeypatch.setattr(soak_pictures, "video_of", product)
    pool: Any = SameProcess()
    _, checks = soak_pictures.check_pictures(pool, EXTENT, folder)
    return checks


def perfect(
    session: Session | None, prompt: str, seed: int, folder: Path, **options: Any
) -> Tensor:
    """Gives back what was asked for, and looks at the files it was given."""
    assert (options.pop("family"), options.pop("output")) == ("tiny-i2v", "clip.mkv")
    task = {1: "first", 2: "ends"}.get(len(options), "first")
    if "continues" in options:
        assert options == {"continues": "given.mp4", "overlap": 9}
        clip = soak_pictures.truth_of("continued", indices_of(prompt), seed)
        return torch.cat([read_clip(folder / "given.mp4"), clip[:, 9:]], dim=1)
    clip = soak_pictures.truth_of(task, indices_of(prompt), seed)
    for name, frame in zip(options.values(), (0, -1), strict=False):
        picture = torch.from_numpy(np.asarray(Image.open(folder / name)).copy())
        assert torch.equal(picture.permute(2, 0, 1), clip[:, frame])
    return clip


def test_all_that_is_promised_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checks = checked(monkeypatch, tmp_path, perfect)
    assert [check.name for check in checks] == [
        "first: motion right",
        "first: first frame",
        "ends: motion right",
        "ends: first frame",
        "ends: last frame",
        "continued: motion right",
        "continued: first frame",
    ]
    assert all(check.ok for check in checks)
    assert {check.value for check in checks} == {100.0}


def test_a_model_that_forgets_what_it_was_given_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def careless(*arguments: Any, **options: Any) -> Tensor:
        return perfect(*arguments, **options).flip(1)

    checks = checked(monkeypatch, tmp_path, careless)
    assert not any(check.ok for check in checks if check.name.endswith("frame"))


def test_options_of_the_stage_reach_the_workflow() -> None:
    text = workflow_text({"prompt": 'a "red" one', "image": "first.png"}, "tiny-i2v", "clip.mkv")
    assert 'model = { family = "tiny-i2v" }' in text
    assert 'output = { path = "clip.mkv", overwrite = true }' in text
    assert 'prompt = "a \\"red\\" one"\nimage = "first.png"' in text
