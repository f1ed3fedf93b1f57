"""Every workflow in ``examples/`` can be run as it is, and those that begin with pictures do what they tell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from wan_core import Plugins, Session, load_workflow, load_workflows, make_plans
from wan_core.models import tiny
from zoo import example_pictures
from zoo.judge import Verdict, judge
from zoo.product import read_clip
from zoo.soak_pictures import decibels

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(ROOT.glob("examples/*.toml"))
PICTURES = ROOT / "examples" / "pictures"
FEWER_STEPS = 6
OVERLAP = 9


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with Session(device="cpu", cache=tmp_path_factory.mktemp("cache")) as session:
        yield session


def drawn(session: Session, name: str, output: Path, *overrides: str) -> Tensor:
    """The video ``[3, frames, height, width]`` uint8 of an example, with fewer steps and every pixel kept."""
    file = ROOT / "examples" / f"{name}.toml"
    stages = range(len(load_workflow(file).stages))
    steps = [f"stages.{number}.steps={FEWER_STEPS}" for number in stages]
    workflow = load_workflow(file, [*steps, f"output.path={output}", *overrides])
    (path,) = session.run(workflow).outputs
    return read_clip(path)


def picture(name: str) -> Tensor:
    with Image.open(PICTURES / name) as opened:
        return torch.from_numpy(np.asarray(opened.convert("RGB")).copy()).permute(2, 0, 1)


def told(verdict: Verdict) -> str:
    return " ".join(verdict.words.values())


def test_all_of_them_are_looked_at() -> None:
    names = {file.stem for file in EXAMPLES}
    assert names >= {
        "hello", "sweep", "image", "first-and-last", "continue", "change", "chain", "drawn-path-relit"
    }  # fmt: skip


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_passes_planning(file: Path, tmp_path: Path) -> None:
    shutil.copytree(PICTURES, tmp_path / "pictures")
    shutil.copy(file, tmp_path)
    plans = make_plans(load_workflows(tmp_path / file.name), Plugins.discover(), device="cpu")
    bundled = Path(tiny.__file__).parent
    for plan in plans:
        named = [file.path for model in plan.models.values() for file in model.files.values()]
        assert named
        assert all(path.parent == bundled for path in named)
        assert plan.output.parent == tmp_path / "outputs"


def test_a_picture_begins_to_move(session: Session, tmp_path: Path) -> None:
    clip = drawn(session, "image", tmp_path / "clip.mkv")
    assert told(judge(clip)) == "small orange circle moves right navy"
    assert decibels(clip[:, 0], picture("middle.png")) > 30


def test_a_chain_draws_moves_and_changes(session: Session, tmp_path: Path) -> None:
    clip = drawn(session, "chain", tmp_path / "clip.mkv")
    assert told(judge(clip)) == "large blue circle moves right black"


def test_a_video_lies_between_two_pictures(session: Session, tmp_path: Path) -> None:
    clip = drawn(session, "first-and-last", tmp_path / "clip.mkv")
    assert told(judge(clip)) == "large green square moves right black"
    assert decibels(clip[:, 0], picture("first.png")) > 30
    assert decibels(clip[:, -1], picture("last.png")) > 28


def test_a_video_goes_on(session: Session, tmp_path: Path) -> None:
    clip = drawn(session, "continue", tmp_path / "clip.mkv")
    right, down = judge(clip[:, :OVERLAP]).travel
    assert right > 0.05
    assert abs(down) < 0.02
    assert told(judge(clip[:, OVERLAP - 1 :])) == "large cyan triangle moves up brown"


def test_the_pictures_are_those_that_the_script_makes(tmp_path: Path) -> None:
    example_pictures.main(["--out", str(tmp_path)])
    made = {file.name for file in tmp_path.iterdir()}
    assert made == {file.name for file in PICTURES.iterdir()}
    for name in made:
        with Image.open(tmp_path / name) as new, Image.open(PICTURES / name) as old:
            difference = np.asarray(new).astype(int) - np.asarray(old)
        assert abs(difference).max() <= 1, name
        assert (PICTURES / name).stat().st_size < 4096


def test_a_circle_follows_the_path_that_was_drawn_in_the_light_that_was_asked_for(
    session: Session, tmp_path: Path
) -> None:
    workflow = load_workflow(ROOT / "examples" / "drawn-path-relit.toml")
    points = workflow.stages[1].apply[0].options.tracks[0].points
    clip = drawn(session, "drawn-path-relit", tmp_path / "clip.mkv").float()
    circle = clip[0] - clip[2] > 60
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    centres = torch.stack(
        [(circle * axis).sum((1, 2)) / circle.sum((1, 2)) for axis in (columns, rows)], dim=1
    )
    quarters = centres[:: (len(centres) - 1) // (len(points) - 1)]
    assert (quarters - torch.tensor(points)).norm(dim=1).max() < 8  # with few steps
    assert (quarters[-1] - quarters[0]).norm() > 25
    # the light comes from the top left
    beside = columns - centres[:, 0, None, None] + rows - centres[:, 1, None, None]
    light = clip.mean(dim=0)
    assert light[circle & (beside < -4)].mean() > 1.1 * light[circle & (beside > 4)].mean()
