"""Planning: what follows from what is given, notes, and a plan that can be run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from lumos_samples import FRAMES, PLUGINS, workflow_text, write_files
from wan_plugin_unilumos.planning import NO_MASK, NO_WORDS, NOTHING_GIVEN

from wan_core.contract import StageNeeds, VideoSize
from wan_core.planning import make_plan
from wan_core.workflow import parse_workflow, parse_workflows, to_toml

NeedsOf = Callable[[str], StageNeeds]


@pytest.fixture(scope="module")
def needs(tmp_path_factory: pytest.TempPathFactory) -> NeedsOf:
    folder = tmp_path_factory.mktemp("plan")
    write_files(folder)

    def needs(stage: str) -> StageNeeds:
        text = workflow_text(stage)
        workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
        (planned,) = make_plan(workflow, PLUGINS, device="cpu").stages
        return planned.needs

    return needs


VIDEO, GROUND = 'video = "v.mkv"\n', 'background = "ground.mkv"\n'


@pytest.mark.parametrize(
    ("stage", "size"),
    [
        ("", (32, 32, FRAMES, 8)),
        (VIDEO, (32, 32, 9, 8)),
        ('video = "v.mkv"\nframes = 5', (32, 32, 5, 8)),
        ('video = "v.mkv"\nduration = 0.5', (32, 32, 5, 8)),
        ('video = "fast.mkv"', (32, 32, 5, 8)),
        ('video = "fast.mkv"\nframe_choice = "own"', (32, 32, 9, 24)),
        ('video = "fast.mkv"\nframe_choice = "upstream"\nframes = 41', (32, 32, 41, 8)),
        ('video = "p.png"', (32, 32, 1, 8)),
        ('video = "p.png"\nframes = 9', (32, 32, 9, 8)),
        # a size of its own proportions, in whole latents
        ('video = "wide.png"', (40, 16, 1, 8)),
        ('video = "wide.png"\nwidth = 64', (64, 32, 1, 8)),
        ('background = "briefly.mkv"', (32, 32, 1, 8)),
        ('background = "p.png"', (32, 32, FRAMES, 8)),
        # what is lit anew leads, not its background
        (VIDEO + 'background = "wide.png"', (32, 32, 9, 8)),
    ],
)
def test_sizes(needs: NeedsOf, stage: str, size: tuple[int, int, int, float]) -> None:
    assert needs(stage).size == VideoSize(*size)


@pytest.mark.parametrize(
    ("stage", "note"),
    [
        ("", NOTHING_GIVEN),
        ("", NO_WORDS),
        (VIDEO + GROUND, NO_MASK),
        (VIDEO, "of the 12 frames of video the first 9 are used"),
        ('video = "p.png"\nframes = 5', "video is a picture: it is shown for all 5 frames"),
        ('video = "short.mkv"', "of the 4 frames of video the first is used"),
        (
            VIDEO + 'background = "briefly.mkv"',
            "background has 3 frames, the video 9: its last one is held",
        ),
        ("duration = 0.7", "0.7 seconds are 6 frames: 5 are made, 4 * n + 1"),
        (
            'direction = "top"\nphenomena = "fog"\nchanges = "static"\nlight_source = "natural"',
            "the attributes of light that are left out are said as Light Intensity: Moderate, Color "
            "Temperature: "
            "Neutral",
        ),
    ],
)
def test_notes(needs: NeedsOf, stage: str, note: str) -> None:
    assert note in needs(stage).notes


def test_no_notes_where_all_is_said(needs: NeedsOf) -> None:
    stage = VIDEO + GROUND + 'mask = "mask.mkv"\nprompt = "a square"\nframes = 9'
    assert needs(stage).notes == ()


@pytest.mark.parametrize(
    ("stage", "tasks"),
    [
        ("", {"encoding grey": 9}),
        (VIDEO, {"encoding video": 9, "encoding grey": 9}),
        (VIDEO + GROUND, {"encoding video": 9, "encoding background": 9}),
        (VIDEO + 'missing = "zero"', {"encoding video": 9}),
        ('missing = "zero"', {}),
    ],
)
def test_what_is_encoded_is_known(needs: NeedsOf, stage: str, tasks: dict[str, int]) -> None:
    assert needs(stage).encodes == tasks


def test_a_background_of_fewer_frames_is_handed_over_as_pixels(tmp_path: Path) -> None:
    write_files(tmp_path)
    text = workflow_text('name = "ground"\nframes = 5') + (
        f'[[stages]]\nuse = "unilumos"\nname = "lit"\n{VIDEO}background = "ground.video"\n'
    )
    workflow = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=PLUGINS)
    (one,) = make_plan(workflow, PLUGINS, device="cpu").stages[1].handovers
    assert (one.option, one.pixels) == ("background", "they are 5 of the 9 frames")


def test_features_are_told_how_large_what_is_given_is(needs: NeedsOf) -> None:
    given = needs(VIDEO + 'background = "wide.png"').pictures
    assert given == {"video": (32, 32), "background": (64, 32)}


def test_prompts_and_branches(needs: NeedsOf) -> None:
    lit = needs('prompt = "A square."\ndirection = "top"')
    words, negative = lit.prompts
    assert words.startswith("A square. Direction of Light: Top Light, Light Source Type: ")
    assert negative == "worse" and lit.branches == 2
    assert needs("guidance = 1.0").branches == 1
    # what the user said stays what the user said, so that a plan that is run again says the same
    assert lit.options.prompt == "A square." and lit.options.direction == "Top Light"


def test_lists_of_attributes_are_a_sweep(tmp_path: Path) -> None:
    text = workflow_text('direction = ["top", "side light"]\ncolor_temperature = ["warm", "cool"]')
    workflows = parse_workflows(text, name="w.toml", folder=tmp_path, plugins=PLUGINS)
    prompts = {
        make_plan(one, PLUGINS, device="cpu").stages[0].needs.prompts[0] for one in workflows
    }
    assert {one for one in prompts if "Top Light" in one and "Warm Tone" in one}
    assert len(prompts) == 4


def test_a_plan_that_is_written_down_is_the_same_workflow(tmp_path: Path) -> None:
    write_files(tmp_path)
    text = workflow_text('prompt = "A square."\ndirection = "top"\nvideo = "v.mkv"\nduration = 1')
    first = make_plan(
        parse_workflow(text, name="w.toml", folder=tmp_path, plugins=PLUGINS), PLUGINS, device="cpu"
    )
    written = to_toml(first.workflow)
    assert 'prompt = "A square."' in written
    again = make_plan(
        parse_workflow(written, name="w.toml", folder=tmp_path, plugins=PLUGINS),
        PLUGINS,
        device="cpu",
    )
    assert again.stages[0].needs.size == first.stages[0].needs.size
    assert again.stages[0].needs.prompts == first.stages[0].needs.prompts
