"""Planning of ``generate``: presets fill what is open, sizes and steps are checked with a remedy."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from wan_core.contract.descriptions import Solver
from wan_core.contract.errors import WanCoreError
from wan_core.contract.requests import PlanContext, StageNeeds
from wan_core.media import write_video
from wan_core.planning import Plan, make_plan
from wan_core.plugins import Plugins
from wan_core.sampling.guidance_options import CLASSES
from wan_core.sampling.guidance_table import EDITS
from wan_core.stages import generate_plan
from wan_core.stages.options import GenerateOptions
from wan_core.workflow import parse_workflow, to_toml

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
    (
        "guidance = {scale = 5.0, fresca = {cutoff = 1.5}}",
        r"fresca\.cutoff: cutoff must be a whole number",
    ),
    (
        "guidance = {scale = 5.0, fresca = {cutoff = -1}}",
        r"fresca\.cutoff: cutoff must be from 0 to 1000",
    ),
    ("guidance = {scale = 5.0, tsr = {k = 0.0}}", r"line 8.*guidance\.tsr\.k: k must be above 0"),
    ("guidance = {scale = 5.0, tsr = {k = -0.5}}", r"guidance\.tsr\.k: k must be above 0"),
    ("guidance = {scale = 5.0, tsr = {sigma = 0}}", r"guidance\.tsr\.sigma: sigma must be above 0"),
    ("guidance = {scale = 5.0, high = 4.0}", r"line 8, stages\.0\.guidance.*give scale alone"),
    ("guidance = {high = 4.0}", r"stages\.0\.guidance.*give scale alone"),
    (
        "guidance = {high = 4.0, low = 3.0}",
        r"line 8, stages\.0\.guidance.*only one expert; give sc",
    ),
    (
        "steps = 4\nguidance = {scale = 5.0, zero_steps = 4}",
        r"line 9.*nothing to do.*use at most 3",
    ),
    ("steps = 5\nstart_step = 5", r"line 9, stages\.0\.start_step: .*; use at most 4"),
    ("start_step = 999", r"line 8, stages\.0\.start_step"),
    ("start_step = 3\nend_step = 3", r"line 9, stages\.0\.end_step: .*; use 4 to "),
    ("start_step = 3\nend_step = 2", r"line 9, stages\.0\.end_step"),
    ("sigmas = [0.5]", r"line 8, stages\.0\.sigmas: .*at least two falling numbers"),
    ("sigmas = [0.2, 0.4, 0]", r"line 8, stages\.0\.sigmas: .*do not fall"),
    ("sigmas = [1, 0, 0]", r"line 8, stages\.0\.sigmas: .*do not fall"),
    ("sigmas = [1, 0.50000001, 0.5, 0]", r"line 8, stages\.0\.sigmas: .*do not fall"),
    ("sigmas = [1, 0.5, 0]\nstart_step = 2", r"stages\.0\.start_step: .*none of the 2 steps"),
    (
        "steps = 9\nsigmas = [1, 0.5, 0]",
        r"line 8, stages\.0\.steps: .*make 2 steps; leave steps out",
    ),
    (
        "solver = 'flowmatch_causvid'\nsteps = 20",
        r"line 9, stages\.0\.steps: solver flowmatch_causvid can run 4 steps, not 20; set steps to 4",
    ),
    (
        "solver = 'longcat_distill_euler'\nsteps = 60",
        r"stages\.0\.steps: solver longcat_distill_euler can run 1 to 50 steps, not 60; set steps to 50,",
    ),
    ("solver = 'rcm'\nsteps = 7", r"stages\.0\.steps: .* 1 to 4 steps, not 7; set steps to 4,"),
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
        assert list(fields) == list(inspect.signature(CLASSES[name]).parameters)


def test_a_part_of_the_schedule_is_noted() -> None:
    assert plan("steps = 5\nend_step = 5").notes == ()
    assert plan("steps = 5\nend_step = 9").notes == ()
    (start,) = plan("steps = 5\nstart_step = 2").notes
    assert "the first 2 of 5 steps are left out" in start
    assert "pure noise" in start
    (end,) = plan("steps = 5\nend_step = 2").notes
    assert "the last 3 of 5 steps are left out" in end
    assert "noisy" in end
    assert len(plan("steps = 5\nstart_step = 1\nend_step = 4").notes) == 2


def test_a_part_of_the_schedule_on_a_video_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    write_video(tmp_path / "given.mkv", [np.zeros((5, 32, 32, 3), np.uint8)], 8)
    made = plan('video = "given.mkv"\nstart_step = 1', "tiny-random", tmp_path)
    written = to_toml(made.workflow)
    assert "start_step = 1" in written
    assert "strength = 1.0" in written
    again = make_plan(parse_workflow(written, folder=tmp_path, plugins=PLUGINS), PLUGINS)
    assert again.stages[0].needs.options == made.stages[0].needs.options
    with pytest.raises(WanCoreError, match="start_step and strength both say where"):
        plan('video = "given.mkv"\nstart_step = 1\nstrength = 0.5', "tiny-random", tmp_path)


def test_own_noise_levels_count_the_steps_and_a_noisy_end_is_noted() -> None:
    made = plan("sigmas = [1, 0.5, 0]")
    assert made.stages[0].needs.options.steps == 2
    assert made.notes == ()
    (note,) = plan("sigmas = [1, 0.5, 0.25]").notes
    assert "0.25" in note
    assert "noisy" in note


def of_family(**preset_and_config: Any) -> Any:
    """Plans options for a family like tiny-t2v with another preset or another transformer width."""
    tiny = PLUGINS.family("tiny-t2v")
    transformer = tiny.components["transformer"]
    config = {**transformer.config, "dim": preset_and_config.pop("dim", 384)}
    components = {**tiny.components, "transformer": attrs.evolve(transformer, config=config)}
    preset = attrs.evolve(tiny.preset, **preset_and_config)
    family = attrs.evolve(tiny, components=components, preset=preset)

    def run(**options: Any) -> StageNeeds:
        return generate_plan.plan(
            PlanContext(
                stage="generate",
                options=GenerateOptions(prompt="a red circle", **options),
                where=lambda option: f"w.toml, {option}",
                folder=Path("/tmp"),
                family=family,
                solver=PLUGINS.solver,
            )
        )

    return run


def test_causvid_counts_steps_by_the_width_of_the_transformer() -> None:
    wide, narrow = of_family(dim=5120), of_family(dim=1536)
    assert wide(solver="flowmatch_causvid", steps=9).options.steps == 9
    with pytest.raises(
        WanCoreError, match=r"w\.toml, steps: .* 1 to 9 steps, not 20; set steps to 9"
    ):
        wide(solver="flowmatch_causvid", steps=20)
    assert narrow(solver="flowmatch_causvid", steps=4).options.steps == 4
    with pytest.raises(WanCoreError, match="4 steps, not 9"):
        narrow(solver="flowmatch_causvid", steps=9)
    # a family that does not say how wide it is gets what is sure to run
    with pytest.raises(WanCoreError, match="4 steps, not 9"):
        of_family(dim=None)(solver="flowmatch_causvid", steps=9)


def test_two_experts_may_be_guided_apart() -> None:
    two = of_family(boundary=0.875)
    assert two(guidance={"high": 4, "low": 3}).branches == 2
    with pytest.raises(WanCoreError, match="give scale alone"):
        two(guidance={"high": 4, "scale": 3})


def test_step_counts_of_a_solver() -> None:
    assert Solver("s", "", "").step_counts(5120) is None
    assert Solver("s", "", "", fixed_steps=(2, 4)).step_counts() == (2, 4)
    assert Solver("s", "", "", most_steps=3).step_counts() == range(1, 4)
    by_width = Solver("s", "", "", fixed_steps=(4,), width_steps={5120: (1, 2)})
    assert by_width.step_counts(5120) == (1, 2)
    assert by_width.step_counts(1536) == (4,)
    assert by_width.step_counts() == (4,)


def test_planning_imports_no_torch() -> None:
    code = (
        "import sys, pathlib; from wan_core.plugins import Plugins; "
        "from wan_core.contract.requests import PlanContext; "
        "from wan_core.stages.options import GenerateOptions; "
        "from wan_core.stages.generate_plan import plan; "
        "plugins = Plugins.discover(); "
        "options = GenerateOptions(prompt='a red circle', sigmas=[1, 0.5, 0], "
        "guidance={'scale': 5, 'tsr': True}); "
        "plan(PlanContext('generate', options, str, pathlib.Path(), plugins.family('tiny-t2v'), "
        "plugins.solver)); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
