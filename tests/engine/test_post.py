"""``post = [...]``: stages that a video goes through, planned, run, recorded and swept as any other."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from torch import Tensor

from wan_core import Session
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Description, Stage
from wan_core.contract.errors import WanCoreError
from wan_core.contract.options import number, source, text
from wan_core.contract.requests import PlanContext, StageContext, StageNeeds
from wan_core.hookspecs import hookimpl
from wan_core.media import probe, read_frames
from wan_core.models.families import TINY_RANDOM
from wan_core.planning import Plan, make_plan, read_record
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow, parse_workflows, to_toml

WAN_CORE_CONTRACT = CONTRACT_VERSION
TEXT = """
format = 1
[models.first]
family = "tiny-random"
[models.second]
family = "darker"
[[stages]]
use = "generate"
prompt = "a circle"
seed = {seed}
{post}
[output]
path = "{name}.mkv"
{output}
"""


@attrs.frozen
class Options:
    video: str = source()
    prompt: str = text(200)
    share: float = number(0, 1, default=0.5)


def plan_darken(context: PlanContext) -> StageNeeds:
    size = context.inputs[context.options.video]
    return StageNeeds(context.options, size=size, prompts=(context.options.prompt,))


@attrs.frozen(eq=False)
class Darker:
    source: Any
    share: float

    def __iter__(self) -> Iterator[Tensor]:
        for chunk in self.source:
            yield (chunk + 1) * self.share - 1


def darken(context: StageContext) -> Mapping[str, Any]:
    assert context.text[context.options.prompt].ndim == 2
    return {"video": Darker(context.inputs[context.options.video], context.options.share)}


@hookimpl
def wan_register() -> Sequence[Description]:
    here = __name__
    stage = Stage(
        "darken", "a darker video", f"{here}:Options", f"{here}:darken", plan=f"{here}:plan_darken"
    )
    return [stage, attrs.evolve(TINY_RANDOM, name="darker", stages=("darken",))]


CORE = next(iter(installed_entry_points()))
PLUGINS = Plugins([CORE, Found("dark", "dark", "1", lambda: sys.modules[__name__])])


def written(post: str, *, name: str = "out", output: str = "", seed: str = "3") -> str:
    return TEXT.format(post=post, name=name, output=output, seed=seed)


def plan(folder: Path, post: str, **more: str) -> Plan:
    workflow = parse_workflow(written(post, **more), name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu")


def frames(made: Plan, folder: Path) -> np.ndarray:
    with Session(plugins=PLUGINS, device="cpu", cache=folder / "cache") as session:
        return np.stack(list(read_frames(session.run(made).outputs[0])))


def test_an_entry_is_the_stage_that_could_have_been_written(tmp_path: Path) -> None:
    short = plan(tmp_path, 'post = ["darken"]')
    whole = plan(
        tmp_path,
        '[[stages]]\nuse = "darken"\nprompt = "a circle"\nvideo = "generate.video"',
        name="whole",
    )
    assert [(s.name, s.spec.model, s.needs.options) for s in short.stages] == [
        (s.name, s.spec.model, s.needs.options) for s in whole.stages
    ]
    assert dict(short.describe())["Stages"][1].startswith("darken: a darker video; 32x32, 5 frames")
    assert short.texts["second"] == ("a circle",)
    np.testing.assert_array_equal(frames(short, tmp_path), frames(whole, tmp_path))


def test_entries_follow_each_other_and_have_options(tmp_path: Path) -> None:
    post = 'post = [{ use = "darken", share = 1 }, { use = "darken", share = 0, prompt = "b" }]'
    made = plan(tmp_path, post)
    assert [s.name for s in made.stages] == ["generate", "darken", "darken-2"]
    options = [s.needs.options for s in made.stages[1:]]
    assert options == [Options("generate.video", "a circle", 1), Options("darken.video", "b", 0)]
    assert frames(made, tmp_path).max() < 8
    first = plan(tmp_path, post, name="first", output='stage = "generate"')
    second = plan(tmp_path, post, name="second", output='stage = "darken"')
    found = frames(first, tmp_path)
    assert found.max() > 8
    np.testing.assert_array_equal(found, frames(second, tmp_path))


def test_the_record_says_what_the_user_wrote_and_makes_it_again(tmp_path: Path) -> None:
    made = plan(tmp_path, 'post = [{ use = "darken", share = 0.25 }]')
    result = frames(made, tmp_path)
    text = read_record(probe(made.output).comment, where="out.mkv").workflow
    assert text is not None and text == to_toml(made.workflow)
    assert text.count("[[stages]]") == 1
    keys = 'use = "darken", name = "darken", model = "second", prompt = "a circle", share = 0.25'
    assert f'    {{ {keys}, handover = "latents" }},' in text.splitlines()
    again = parse_workflow(text.replace("out.mkv", "again.mkv"), folder=tmp_path, plugins=PLUGINS)
    assert again.stages == made.workflow.stages
    np.testing.assert_array_equal(frames(make_plan(again, PLUGINS, device="cpu"), tmp_path), result)


def test_a_sweep_goes_on_through_it(tmp_path: Path) -> None:
    text = written('post = ["darken"]', seed="[1, 2]")
    text = text.replace('"a circle"', '["a circle", "a square"]')
    runs = parse_workflows(text, name="w.toml", folder=tmp_path, plugins=PLUGINS)
    assert [one.stages[0].post[0].options.prompt for one in runs] == [
        one.stages[0].options.prompt for one in runs
    ]
    assert len(runs) == 4


def test_later_stages_and_overrides_reach_it(tmp_path: Path) -> None:
    later = 'post = [{{ use = "darken" }}]\n[[stages]]\nuse = "darken"\nprompt = "c"\nvideo = "{}.video"'
    made = plan(tmp_path, later.format("darken-2"))
    assert [s.name for s in made.stages] == ["generate", "darken-2", "darken"]
    workflow = parse_workflow(
        written(later.format("generate")),
        folder=tmp_path,
        overrides=["stages.0.post.darken.share=0.75"],
        plugins=PLUGINS,
    )
    assert workflow.stages[0].post[0].options.share == 0.75


@pytest.mark.parametrize(
    ("models", "says"),
    [
        (
            'family = "tiny-random"\n[models.third]\nfamily = "tiny-random"',
            'w.toml, line 9, stages.0.post.0: the stage "darken" needs a model, and no model here suits it; '
            'add [model] with family = "…" (it drives: darker).',
        ),
        (
            'family = "darker"\n[models.third]\nfamily = "darker"',
            'w.toml, line 11, stages.0.post.0: the stage "darken" must say which model it drives; add model = '
            '"second" or model = "third".',
        ),
    ],
)
def test_no_model_or_several(tmp_path: Path, models: str, says: str) -> None:
    text = written('post = ["darken"]').replace('family = "darker"', models)
    text = text.replace('use = "generate"', 'use = "generate"\nmodel = "first"')
    with pytest.raises(WanCoreError) as caught:
        parse_workflow(text, name="w.toml", folder=tmp_path, plugins=PLUGINS)
    assert str(caught.value).partition("stages.0")[2] == says.partition("stages.0")[2]
