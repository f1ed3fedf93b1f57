"""What stages hand to each other: latents or pixels, told and counted by the plan."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from PIL import Image

from wan_core.contract.descriptions import Feature
from wan_core.contract.options import flag, source
from wan_core.hookspecs import hookimpl
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, make_plan
from wan_core.planning.wording import LATENTS
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import load_workflow, parse_workflow, to_toml


@attrs.frozen
class Options:
    """A feature that may read another video."""

    beside: str | None = source(default=None, help="a video")
    marked: bool = flag(default=False, help="draw over it")


class Features:
    WAN_CORE_CONTRACT = (1, 0)

    @hookimpl
    def wan_register(self) -> list[object]:
        options = f"{__name__}:Options"
        other = {"load": "wan_core.models.loaders:random_vae"}
        parts = {
            **TINY_T2V.components,
            "vae": attrs.evolve(TINY_T2V.components["vae"], **other),
        }
        return [
            Feature("tint", "", options, writes=("post",)),
            Feature("pull", "", options, writes=("text",)),
            Feature("mark", "", options, writes=("text",), writes_if={"post": "marked"}),
            attrs.evolve(TINY_T2V, name="other-vae", components=parts),
        ]


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("two", "two", "1", Features)])
TEXT = """
format = 1
[models.main]
family = "tiny-t2v"
[models.other]
family = "{family}"
[[stages]]
use = "generate"
name = "first"
model = "main"
prompt = "a circle"
width = 32
height = 32
frames = 9
{first}
[[stages]]
use = "generate"
name = "second"
model = "other"
prompt = "a square"
video = "first.video"
{second}
[output]
path = "out.mp4"
{output}
"""
NEVER = 'the video of "first" is never decoded'


def planned(
    folder: Path,
    second: str = "",
    *,
    first: str = "",
    family: str = "tiny-t2v",
    output: str = "",
) -> Plan:
    text = TEXT.format(first=first, second=second, family=family, output=output)
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


def between(plan: Plan) -> list[str]:
    return dict(plan.describe())["Between stages"]


MORE = '[[stages]]\nuse = "generate"\nname = "third"\nmodel = "main"\nprompt = "x"\n'


@pytest.mark.parametrize(
    ("said", "pixels"),
    [
        ({}, ""),
        ({"second": "strength = 0.3"}, ""),
        ({"second": 'mask = "mask.png"'}, ""),
        ({"second": "handover = 'latents'"}, ""),
        ({"second": "handover = 'pixels'"}, 'handover = "pixels"'),
        ({"second": "width = 64\nheight = 64"}, "they are brought to 64x64"),
        ({"second": "frames = 5"}, "only 5 of 9 frames are used"),
        ({"first": "[[stages.apply]]\nuse = 'tint'"}, '"tint" changes them'),
        ({"first": "[[stages.apply]]\nuse = 'pull'"}, ""),
        ({"first": "[[stages.apply]]\nuse = 'mark'"}, ""),
        ({"first": "[[stages.apply]]\nuse = 'mark'\nmarked = true"}, '"mark" changes them'),
        ({"second": "[[stages.apply]]\nuse = 'tint'"}, ""),
        ({"family": "other-vae"}, "the two models have not the same VAE"),
    ],
)
def test_latents_or_pixels(said: dict[str, str], pixels: str, tmp_path: Path) -> None:
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    plan = planned(tmp_path, **said)
    (one,) = plan.stages[1].handovers
    assert (one.option, one.source, one.giver, one.pixels) == (
        "video",
        "first.video",
        "first",
        pixels,
    )
    assert plan.stages[1].takes_latents("video") == (not pixels)
    what = f"pixels, because {pixels}" if pixels else LATENTS
    never = [] if pixels else [NEVER]
    assert between(plan) == [f'"first" hands to "second" its {what}', *never]
    parts = {phase.name for phase in plan.phases}
    assert ("second / encoding" in parts) == ("first / decoding" in parts) == bool(pixels)
    assert "second / decoding" in parts


@pytest.mark.parametrize(
    "said",
    [
        {"output": 'stage = "first"'},
        {"second": "[[stages.apply]]\nuse = 'pull'\nbeside = 'first.video'"},
        {"second": f"{MORE}video = 'first.video'\nhandover = 'pixels'"},
        {"second": f"{MORE}video = 'first.video'\nwidth = 64"},
    ],
)
def test_a_video_that_somebody_wants_to_see_is_decoded(
    said: dict[str, str], tmp_path: Path
) -> None:
    plan = planned(tmp_path, **said)
    assert plan.stages[1].takes_latents("video")
    assert plan.stages[0].decoded
    assert "first / decoding" in {phase.name for phase in plan.phases}


def test_what_nobody_reads_is_not_decoded(tmp_path: Path) -> None:
    plan = planned(tmp_path, output='stage = "first"')
    assert [stage.decoded for stage in plan.stages] == [True, False]
    assert between(plan)[-1] == 'the video of "second" is never decoded'


def test_files_are_no_matter_of_stages(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "p.png")
    text = 'format = 1\nmodel = {family = "tiny-i2v"}\n[[stages]]\nuse = "generate"\nprompt = ""\n'
    workflow = parse_workflow(text + 'image = "p.png"', name="w.toml", folder=tmp_path)
    plan = make_plan(workflow, PLUGINS, device="cpu", library=Library(()))
    assert "Between stages" not in dict(plan.describe())
    assert "handover" not in to_toml(plan.workflow)


def test_the_switch_is_written_where_it_means_something(tmp_path: Path) -> None:
    workflow = planned(tmp_path, "handover = 'pixels'").workflow
    text = to_toml(workflow)
    assert text.count("handover") == text.count('handover = "pixels"') == 1
    (tmp_path / "again.toml").write_text(text)
    assert load_workflow(tmp_path / "again.toml", plugins=PLUGINS) == workflow
