"""Planning of the feature ``vace``: its steps, and what it refuses before a weight is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from vace_samples import PLUGINS, write_files

from wan_core.contract.errors import WanCoreError
from wan_core.planning import Plan, make_plan
from wan_core.stages.vace_options import VaceOptions
from wan_core.stages.vace_plan import spans
from wan_core.workflow import parse_workflow, to_toml

VIDEO = 'video = "video.mkv"'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vace")
    write_files(folder)
    return folder


def test_steps_of_equal_strength_are_one_span() -> None:
    def laid(steps: int, **options: Any) -> list[tuple[float, float, float]]:
        found = spans(VaceOptions(**options), steps)
        return [(strength, part.start, part.end) for strength, part in found]

    assert laid(50) == [(1, 0, 1)]
    assert laid(50, strength=0) == []
    assert laid(10, strength=[1, 1, 0.5], start=0.1) == [(1, 0.1, 0.2), (0.5, 0.2, 1)]
    assert laid(3, strength=[0, 2, 0]) == [(2, 1 / 3, 2 / 3)]
    for steps in (3, 7, 30, 49):
        parts = spans(VaceOptions(strength=[1, 2] * (steps // 2)), steps)
        held = [[s for s, part in parts if part.holds(i, steps)] for i in range(steps)]
        assert all(len(one) == 1 for one in held)


def plan(folder: Path, options: str, *, stage: str = "", family: str = "small-vace") -> Plan:
    text = f"""format = 1
[model]
family = "{family}"
{'transformer = "vace.safetensors"' if family == "small-vace" else ""}
[[stages]]
use = "generate"
prompt = "a circle"
{stage}
[[stages.apply]]
use = "vace"
{options}
"""
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu")


REFUSED = [
    ('video = "none.mkv"', r"line 11, stages.0.apply.0.video, .*none.mkv: .*no such|not"),
    ('video = "vace.safetensors"', r"apply.0.video, .*no video that can be read"),
    ('mask = "half.png"', r"line 11, .*apply.0.mask: mask is said of video, and there is none"),
    ("video_start = 1", r"video_start is said of video"),
    (f"{VIDEO}\nvideo_start = 9", r"apply.0.video.*nothing is left"),
    (f"{VIDEO}\nvideo_start = 1", r"video has 4 frames at 8 per second.*makes 9; set frames = 1,"),
    (f'{VIDEO}\nmask = "wide.png"', r"line 12, .*apply.0.mask.*mask is 40x20, the video 32x32"),
    (f'{VIDEO}\nmask = "short.mkv"', r"apply.0.mask.*mask has 4 frames, the video 9"),
    ('references = ["wide.png", "video.mkv"]', r"line 11, .*references.*video.mkv: .*a video"),
    ('references = ["wide.png", 3]', r"references.1 must be a path"),
    (f"references = {['wide.png'] * 9}", r"references must be a list of at most 8 paths"),
    ("strength = 11", r"line 11.*strength must be from 0 to 10"),
    ("strength = [1, 1, 1]", r"strength has 3 numbers for 2 steps; give one"),
    ("start = 0.6\nend = 0.4", r"line 11, .*start: start 0.6 and end 0.4 leave no part"),
    ("end = 0", r"line 11, .*end: .*leave no part of the run"),
    ("start = 0.6", r"none of the 2 steps begins between start 0.6 and end 1"),
    ("strenght = 1", r'did you mean "strength"'),
]


@pytest.mark.parametrize(("options", "says"), REFUSED)
def test_mistakes_are_said_at_planning(folder: Path, options: str, says: str) -> None:
    with pytest.raises(WanCoreError, match=says) as caught:
        plan(folder, options)
    assert str(caught.value).startswith("w.toml, line ")


def test_a_plan_says_all_again(folder: Path) -> None:
    made = plan(folder, f'{VIDEO}\nreferences = ["wide.png", "tall.png"]\nstrength = [1, 0.5]')
    text = to_toml(made.workflow)
    again = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    asked = [w.stages[0].apply[0].options for w in (made.workflow, again)]
    assert asked[0] == asked[1]
    assert asked[1].references == (folder / "wide.png", folder / "tall.png")


def test_each_context_is_in_the_prediction(folder: Path) -> None:
    # the random text encoder has no file, and memory is predicted for families with files for all parts
    stage = plan(folder, f'{VIDEO}\n[[stages.apply]]\nuse = "vace"').stages[0]
    made = plan(folder, VIDEO)
    (model,) = made.models.values()
    assert (stage.contexts(model), made.stages[0].contexts(model)) == (2, 1)


def test_other_families_are_refused(folder: Path) -> None:
    with pytest.raises(WanCoreError, match=r"does not fit family tiny-t2v; it fits wan2\.1-vace-1"):
        plan(folder, VIDEO, family="tiny-t2v")


def test_notes(folder: Path) -> None:
    cut = "video of feature vace is 32x32, the stage makes 64x32: it is cut to these proportions"
    assert cut in plan(folder, VIDEO, stage="width = 64").notes
    assert not any("vace" in note for note in plan(folder, VIDEO).notes)
    assert any("neither a video nor references" in note for note in plan(folder, "").notes)
