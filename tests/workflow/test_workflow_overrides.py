from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workflow_fakes import PLUGINS

from wan_core.contract.errors import WanCoreError
from wan_core.workflow import Workflow, parse_workflow

TEXT = """\
format = 1
[model]
family = "tiny-t2v"
[[stages]]
name = "first"
use = "generate"
prompt = "a"
[[stages.apply]]
use = "ati"
tracks = "t.json"
[[stages]]
use = "generate"
prompt = "b"
"""


def parse(*overrides: str) -> Workflow:
    return parse_workflow(
        TEXT, name="w.toml", folder=Path("/f"), overrides=overrides, plugins=PLUGINS
    )


@pytest.mark.parametrize(
    ("override", "at", "value"),
    [
        ('stages.0.prompt="a b"', "stages.0.options.prompt", "a b"),
        ("stages.0.prompt=a small red circle", "stages.0.options.prompt", "a small red circle"),
        ("stages.0.prompt = a = b ", "stages.0.options.prompt", "a = b"),
        ("stages.0.prompt='1984'", "stages.0.options.prompt", "1984"),
        # a line end in a value must not smuggle in other keys
        ("stages.0.prompt=1\n[output]\nfps = 3", "stages.0.options.prompt", "1\n[output]\nfps = 3"),
        ("stages.first.seed=3", "stages.0.options.seed", 3),
        ("stages.generate.seed=3", "stages.1.options.seed", 3),
        ("stages.1.name=other", "stages.1.name", "other"),
        ("stages.0.guidance=[1, 2]", "stages.0.options.guidance", (1.0, 2.0)),
        ("stages.0.apply.0.strength=2", "stages.0.apply.0.options.strength", 2.0),
        ("stages.0.apply.ati.strength=2", "stages.0.apply.0.options.strength", 2.0),
        ("stages.first.apply=[]", "stages.0.apply", ()),
        ("output.path=clip.mp4", "output.path", Path("/f/clip.mp4")),
        ("output.fps=24", "output.fps", 24.0),
        ("memory.vram=2GiB", "memory.vram", 2**31),
        ('memory={vram="1GiB"}', "memory.vram", 2**30),
        ("model.family=wan2.1-t2v-14b", "models.main.family", "wan2.1-t2v-14b"),
        ("models.main.device=cpu", "models.main.device", "cpu"),
        ("models.b.family=tiny-t2v", "models.b.family", "tiny-t2v"),
    ],
)
def test_override(override: str, at: str, value: Any) -> None:
    found: Any = parse(override)
    for part in at.split("."):
        if isinstance(found, dict):
            found = found[part]
        else:
            found = found[int(part)] if part.isdecimal() else getattr(found, part)
    assert found == value


def test_later_ones_win_and_see_earlier_ones() -> None:
    assert parse("stages.0.seed=1", "stages.first.seed=2").stages[0].options.seed == 2
    workflow = parse("stages.0.name=x", "stages.x.seed=5", "stages.generate.seed=6")
    assert [stage.options.seed for stage in workflow.stages] == [5, 6]


def test_where_names_the_override() -> None:
    source = parse("stages.first.seed=1", "model.device=cpu", 'memory={vram="1GiB"}').source
    assert source.where("stages.0.seed") == "-s stages.first.seed"
    assert source.where("models.main.device") == "-s model.device"
    assert source.where("memory.vram") == "-s memory"
    assert source.where("models.main.family") == "w.toml, line 3, model.family"
    assert source.where("stages.0.prompt") == "w.toml, line 7, stages.0.prompt"


def test_a_table_that_replaces_another_takes_its_place() -> None:
    source = parse("memory.vram=1GiB", 'memory={ram="1GiB"}').source
    assert source.where("memory.vram") == "-s memory"


FORM = 'write it like stages.0.seed=7 or output.path="clip.mp4".'


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("stages.0.seed=abc", '-s stages.0.seed: seed must be a whole number, not "abc".'),
        ("stages.first.steps=0", "-s stages.first.steps: steps must be from 1 to 1000, not 0."),
        ("stages.0.prompt=1984", "-s stages.0.prompt: prompt must be text, not 1984."),
        ("stages.0.prompt=", "-s stages.0.prompt: prompt must not be empty."),
        ("stages.0.prompt=\udcff", "-s stages.0.prompt: prompt has bytes in it that are no text."),
        (
            "stages.0.stesp=3",
            '-s stages.0.stesp: the stage "generate" has no option "stesp"; did you mean "steps".',
        ),
        (
            "stages.5.seed=1",
            "-s stages.5.seed: there is no stages.5; "
            "there are stages.0 (first), stages.1 (generate).",
        ),
        (
            f"stages.{'9' * 30}.seed=1",
            f"-s stages.{'9' * 30}.seed: there is no stages.{'9' * 30}; "
            "there are stages.0 (first), stages.1 (generate).",
        ),
        (
            "stages.frist.seed=1",
            '-s stages.frist.seed: there is no stages.frist; did you mean "first".',
        ),
        (
            "stages.0.apply.atii.x=1",
            '-s stages.0.apply.atii.x: there is no stages.0.apply.atii; did you mean "ati".',
        ),
        (
            "stages.0.apply.1.x=1",
            "-s stages.0.apply.1.x: there is no stages.0.apply.1; "
            "there is only stages.0.apply.0 (ati).",
        ),
        (
            "model.vae=~nobody9/x",
            '-s model.vae: vae names a home folder that does not exist, "~nobody9/x".',
        ),
        (
            'model.vae="a\\u0000b"',
            "-s model.vae: vae has a control character (U+0000) in it.",
        ),
        (
            f"{'k' * 5000}=1",
            f'-s "{"k" * 47}…": a workflow has no "{"k" * 47}…"; '
            "known are: format, memory, model, models, output, stages.",
        ),
        (
            "stages.1.apply.0.use=ati",
            "-s stages.1.apply.0.use: there is no stages.1.apply.0; add it to the file first.",
        ),
        ("outptu.path=x", '-s outptu.path: a workflow has no "outptu"; did you mean "output".'),
        ("output.pth=x", '-s output.pth: [output] has no option "pth"; did you mean "path".'),
        ("output.path=", '-s output.path: path must be a path in quotes, not "".'),
        ("format.x=1", "-s format.x: format is 1, not a table."),
        ("stages.0.seed.x=1", "-s stages.0.seed.x: seed must be a whole number, not a table."),
        ("format=9", "-s format: format 9 is not known, this wan-core knows format 1;"
         ' write "format = 1", or update wan-core if a newer one wrote format 9.'),
        (
            "stages=3",
            "-s stages: stages must be a list of tables, not 3; "
            "begin each with [[stages]], in double brackets.",
        ),
        ("stages.0.prompt", f'-s "stages.0.prompt": this override is no KEY=VALUE; {FORM}'),
        ("a b=3", f'-s "a b=3": this override is no KEY=VALUE; {FORM}'),
        ("", f'-s "": this override begins with no key; {FORM}'),
        ("=3", f'-s "=3": this override begins with no key; {FORM}'),
        ("stages..0=3", f'-s "stages..0=3": this override begins with no key; {FORM}'),
        ('"a', f'-s "\\"a": this override begins with no key; {FORM}'),
    ],
)  # fmt: skip
def test_refused(override: str, sentence: str) -> None:
    with pytest.raises(WanCoreError) as caught:
        parse(override)
    assert str(caught.value) == sentence


def test_an_option_that_overrules_a_key_is_its_place() -> None:
    source = parse("output.path=x.mp4").source.overruled(("output", "path"), "-o")
    assert source.where("output.path") == "-o"
    assert source.overruled(("models", "main", "device"), "--device").where(
        "models.main.device"
    ) == ("--device")


def test_one_text_is_no_list_of_overrides() -> None:
    with pytest.raises(TypeError, match="overrides are a list of texts"):
        parse_workflow(TEXT, overrides="stages.0.seed=7", plugins=PLUGINS)
