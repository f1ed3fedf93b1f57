"""Planning of ``generate``: presets fill what is open, sizes and steps are checked with a remedy."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from wan_core.contract.errors import WanCoreError
from wan_core.planning import Plan, make_plan
from wan_core.plugins import Plugins
from wan_core.sampling.guidance_options import EDITS as CLASSES
from wan_core.stages.guidance_field import EDITS
from wan_core.workflow import parse_workflow

PLUGINS = Plugins.discover()


def plan(options: str, family: str = "tiny-t2v", folder: Path = Path("/tmp")) -> Plan:
    text = f"""
format = 1
[model]
family = "{family}"
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
{options}
"""
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu")


def test_the_preset_fills_what_is_open() -> None:
    options = plan("seed = 3").stages[0].needs.options
    preset = PLUGINS.family("tiny-t2v").preset
    for name in ("width", "height", "frames", "steps", "shift", "solver", "guidance"):
        assert getattr(options, name) == getattr(preset, name)
    assert options.seed == 3


def test_what_is_given_stays() -> None:
    made = plan("frames = 17\nsteps = 5\nguidance = [6, 4, 1]\nsolver = 'euler'")
    options = made.stages[0].needs.options
    assert (options.frames, options.steps, options.guidance) == (17, 5, (6.0, 4.0, 1.0))
    size = made.stages[0].needs.size
    assert size is not None
    assert (size.frames, size.fps) == (17, 12)


REFUSED = [
    ("frames = 80", r"line 8, stages\.0\.frames: 80 frames can't be made.*use 77 or 81"),
    ("width = 100", r"stages\.0\.width: width 100 is no multiple of 16; use 96 or 112"),
    ("solver = 'unipcc'", r"stages\.0\.solver.*did you mean \"unipc\""),
    ("solver = 'flowmatch_distill'\nsteps = 9", r"stages\.0\.steps"),
    ("guidance = 'strong'", r"stages\.0\.guidance"),
    ("guidance = {zero_star = true}", r"guidance has no scale; add scale = 5.0"),
    ("guidance = {scale = 5.0, zero_sta = true}", r'did you mean "zero_star"'),
    ("guidance = {scale = 5.0, fresca = {hihg = 2}}", r'guidance\.fresca.*did you mean "high"'),
]


@pytest.mark.parametrize(("options", "says"), REFUSED)
def test_mistakes_get_file_line_key_and_remedy(options: str, says: str) -> None:
    with pytest.raises(WanCoreError, match=says) as caught:
        plan(options)
    assert str(caught.value).startswith("w.toml, line ")
    assert "\n" not in str(caught.value)


def test_an_unusual_size_and_unknown_words_are_noted() -> None:
    notes = plan("width = 112").notes
    assert any("112x96 is none of the sizes" in note for note in notes)
    assert plan("").notes == ()


def test_only_branches_with_weight_are_encoded() -> None:
    assert len(plan("guidance = 1").texts["main"]) == 1
    assert len(plan("guidance = [1, 1, 3]").texts["main"]) == 2
    assert len(plan("guidance = {scale = 1.0, zero_star = true}").texts["main"]) == 1


def test_the_table_of_guidance_agrees_with_the_classes() -> None:
    assert list(EDITS) == list(CLASSES)
    for name, fields in EDITS.items():
        assert fields == tuple(inspect.signature(CLASSES[name]).parameters)
