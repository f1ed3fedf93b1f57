"""Names of videos from a template: fields, numbers, sweeps; nothing leads into another folder."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from wan_core.contract.errors import WorkflowError
from wan_core.contract.requests import StageNeeds
from wan_core.planning.output import alike, name_of, output_path, with_ending
from wan_core.planning.plan import PlannedStage
from wan_core.plugins import Plugins
from wan_core.stages.generate_plan import fill
from wan_core.workflow import Workflow, parse_workflows

TEXT = """\
format = 1
model = {{ family = "tiny-random" }}
output = {{ path = "{path}" }}
[[stages]]
use = "generate"
{lines}
"""
PLUGINS = Plugins.discover()


def workflows(
    folder: Path, path: str, lines: str = 'prompt = "a red circle"'
) -> tuple[Workflow, ...]:
    text = TEXT.format(path=path, lines=lines)
    return parse_workflows(text, name="hello.toml", folder=folder, plugins=PLUGINS)


def paths(folder: Path, path: str, lines: str = 'prompt = "a red circle"') -> list[str]:
    made: list[Path] = []
    for workflow in workflows(folder, path, lines):
        made.append(_path(workflow, {alike(one) for one in made}))
    return [str(one.relative_to(folder)) for one in made]


def _path(workflow: Workflow, taken: set[str]) -> Path:
    (spec,) = workflow.stages
    needs = StageNeeds(fill(spec.options, PLUGINS.family("tiny-random").preset))
    stage = PlannedStage(spec, PLUGINS.stage("generate"), needs)
    return output_path(workflow, stage, "tiny-random", taken)


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("out.mp4", "out.mp4"),
        ("{name}-{seed}.mp4", "hello-0.mp4"),
        ("{stage}/{family}/{width}x{height}x{frames}.mp4", "generate/tiny-random/32x32x5.mp4"),
        ("{shift} {guidance} {steps}.mp4", "3 2 2.mp4"),
        ("{prompt}.mp4", "a-red-circle.mp4"),
        ("{{name}}.mp4", "{name}.mp4"),
        ("{n}.mp4", "1.mp4"),
        ("{name}-{n}/%05d.png", "hello-1/%05d.png"),
    ],
)
def test_fields(tmp_path: Path, template: str, path: str) -> None:
    assert paths(tmp_path, template) == [path]


def test_braces_of_folders_that_nobody_wrote_mean_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "{odd} {name"
    folder.mkdir()
    assert paths(folder, "{name}.mp4") == ["hello.mp4"]


@pytest.mark.parametrize(
    "prompt", ["../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "a\\\\b", "~", "%05d", "{name}", "C:x"]
)  # fmt: skip
def test_a_prompt_can_lead_nowhere(tmp_path: Path, prompt: str) -> None:
    (made,) = paths(tmp_path, "out/{prompt}.mp4", f'prompt = "{prompt}"')
    assert made.startswith("out/")
    assert made.endswith(".mp4")
    name = made.removeprefix("out/")
    assert not set(name) & set("/\\~%{}:")
    assert not name.startswith(".")


def test_a_long_prompt_makes_a_name_that_fits() -> None:
    assert len(name_of("很" * 500).encode()) <= 180
    assert name_of("\n\t") == "untitled"


def test_numbers_go_on_where_names_are_taken(tmp_path: Path) -> None:
    (tmp_path / "clip-1.mp4").touch()
    (tmp_path / "clip-2").mkdir()
    assert paths(tmp_path, "clip-{n}.mp4") == ["clip-2.mp4"]
    assert paths(tmp_path, "clip-{n}/%03d.png") == ["clip-1/%03d.png"]
    assert paths(tmp_path, "{n}-100%.mp4") == ["1-100%.mp4"]


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("out.mp4", ["out-prompt1-7.mp4", "out-prompt1-8.mp4", "out-prompt2-7.mp4", "out-prompt2-8.mp4"]),
        ("{seed}.mp4", ["7-prompt1.mp4", "8-prompt1.mp4", "7-prompt2.mp4", "8-prompt2.mp4"]),
        ("{prompt} {seed}.mp4", ["a 7.mp4", "a 8.mp4", "b 7.mp4", "b 8.mp4"]),
        ("{n}.mp4", ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]),
        ("50%.mp4", ["50%-prompt1-7.mp4", "50%-prompt1-8.mp4", "50%-prompt2-7.mp4", "50%-prompt2-8.mp4"]),
        ("f/%d.png", ["f-prompt1-7/%d.png", "f-prompt1-8/%d.png", "f-prompt2-7/%d.png", "f-prompt2-8/%d.png"]),
    ],
)  # fmt: skip
def test_every_run_of_a_sweep_has_a_name_of_its_own(
    tmp_path: Path, template: str, names: list[str]
) -> None:
    assert paths(tmp_path, template, 'prompt = ["a", "b"]\nseed = [7, 8]') == names


def test_prompts_that_look_alike_in_a_name_are_numbered(tmp_path: Path) -> None:
    made = paths(tmp_path, "{prompt}.mp4", 'prompt = ["a!", "a?", "a"]')
    assert made == ["a.mp4", "a-2.mp4", "a-3.mp4"]
    # where upper and lower case are one, or accents are taken apart, these would replace each other
    made = paths(tmp_path, "{prompt}.mp4", 'prompt = ["Ä", "ä", "A\u0308 "]')
    assert made == ["Ä.mp4", "ä-2.mp4", "Ä-3.mp4"]


def test_folders_beside_the_root_have_names() -> None:
    assert with_ending(Path("/%d.png"), "-7") == Path("/-7/%d.png")


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("{sed}.mp4", 'the path has an unknown field "{sed}"; did you mean "seed"'),
        ("{}.mp4", 'the path has an unknown field "{}"'),
        ("{negative_prompt.x}.mp4", "unknown field"),
        ("{seed:05d}.mp4", "unknown field"),
        ("{seed.mp4", "a lone { stands in"),
        ("seed}.mp4", "a lone } stands in"),
        ("{sigmas}.mp4", 'unknown field "{sigmas}"'),
    ],
)
def test_mistakes(tmp_path: Path, template: str, sentence: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        paths(tmp_path, template)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("hello.toml, line 3, output.path: ")


def test_what_the_command_line_says_is_a_template_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "{here"
    here.mkdir()
    monkeypatch.chdir(here)
    (workflow,) = workflows(tmp_path / "w", "out.mp4")
    output = attrs.evolve(workflow.output, path=here / "{seed}.mp4")
    assert _path(attrs.evolve(workflow, output=output), []) == here / "0.mp4"
