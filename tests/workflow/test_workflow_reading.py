from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from workflow_fakes import PLUGINS, AtiOptions, GenerateOptions, Point

from wan_core.contract.errors import WorkflowError
from wan_core.workflow import (
    FeatureSpec,
    MemorySpec,
    ModelSpec,
    OutputSpec,
    Source,
    StageSpec,
    Workflow,
    load_workflow,
    parse_workflow,
)

HELLO = """\
format = 1

[model]
family = "tiny-t2v"

[[stages]]
use = "generate"
prompt = "a small red circle"
"""
FULL = """\
format = 1

[models.main]
family = "wan2.1-t2v-14b"
transformer = { high = "weights/high.safetensors", low = "/data/low.safetensors" }
vae = "~/vae.safetensors"
tokenizer = "../tokenizer.json"
precision = "bfloat16"
device = "cuda:1"
attention = "sage"

[models.up]
family = "flashvsr"

[[stages]]
use = "generate"
name = "first"
prompt = '''
two
lines'''
width = 832
guidance = [3, 4.5]
shift = 5
solver = "euler"
image = "start.png"
post = ["upscale", { use = "upscale", factor = 4 }]

[[stages.apply]]
use = "ati"
tracks = "tracks.json"
points = [{ x = 1, y = 2.5 }, { x = 0, y = 0, label = "end" }]
names = { "left hand" = 1 }

[[stages.apply]]
use = "plain"

[[stages]]
use = "upscale"
video = "first.video"
factor = 4

[memory]
vram = "12GiB"
ram = 64_000_000_000

[output]
path = "videos/out.mp4"
fps = 24
stage = "upscale"
"""


def parse(text: str, **more: Any) -> Workflow:
    return parse_workflow(text, plugins=PLUGINS, **{"folder": Path("/work-here"), **more})


def test_the_shortest_workflow_has_every_default() -> None:
    assert parse(HELLO) == Workflow(
        format=1,
        models={"main": ModelSpec("tiny-t2v", {}, "auto", "auto", "sdpa")},
        stages=(
            StageSpec(
                use="generate",
                name="generate",
                model="main",
                options=GenerateOptions("a small red circle"),
                key="stages.0",
            ),
        ),
        memory=MemorySpec(None, None),
        output=OutputSpec(Path("/work-here/out.mp4"), None, None),
    )


def test_a_workflow_that_says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    workflow = parse(FULL)
    assert workflow.models == {
        "main": ModelSpec(
            "wan2.1-t2v-14b",
            {
                "transformer": {
                    "high": Path("/work-here/weights/high.safetensors"),
                    "low": Path("/data/low.safetensors"),
                },
                "vae": Path("/home/ann/vae.safetensors"),
                "tokenizer": Path("/work-here/../tokenizer.json"),
            },
            "bfloat16",
            "cuda:1",
            "sage",
        ),
        "up": ModelSpec("flashvsr"),
    }
    first, second = workflow.stages
    assert (first.use, first.name, first.model) == ("generate", "first", "main")
    assert [(s.use, s.name, s.model, s.key) for s in first.post] == [
        ("upscale", "upscale-2", "up", "stages.0.post.0"),
        ("upscale", "upscale-3", "up", "stages.0.post.1"),
    ]
    assert [(s.options.video, s.options.factor) for s in first.post] == [
        ("first.video", 2),
        ("upscale-2.video", 4),
    ]
    assert [s.name for s in workflow.every_stage] == ["first", "upscale-2", "upscale-3", "upscale"]
    options = first.options
    assert options.prompt == "two\nlines"
    assert options.guidance == (3.0, 4.5)
    assert isinstance(options.shift, float)
    assert options.image == Path("/work-here/start.png")
    ati, plain = first.apply
    assert ati == FeatureSpec(
        "ati",
        AtiOptions(
            tracks=Path("/work-here/tracks.json"),
            points=(Point(1.0, 2.5), Point(0.0, 0.0, "end")),
            names={"left hand": 1},
        ),
        "stages.0.apply.0",
    )
    assert (plain.use, plain.key) == ("plain", "stages.0.apply.1")
    assert (second.name, second.model, second.options.video) == ("upscale", "up", "first.video")
    assert (second.options.factor, second.key) == (4, "stages.1")
    assert workflow.memory == MemorySpec(12 * 2**30, 64_000_000_000)
    assert workflow.output == OutputSpec(Path("/work-here/videos/out.mp4"), 24.0, "upscale")


def test_where() -> None:
    source = parse(FULL, name="hello.toml").source
    assert source.where("stages.0.width") == "hello.toml, line 21, stages.0.width"
    assert source.where(("stages", 0, "width")) == "hello.toml, line 21, stages.0.width"
    assert source.where("stages.0.apply.0.points.1.label") == (
        "hello.toml, line 31, stages.0.apply.0.points.1.label"
    )
    # not given: the line of the table where it could stand
    assert source.where("stages.0.steps") == "hello.toml, line 15, stages.0.steps"
    assert source.where("models.up.vae") == "hello.toml, line 12, models.up.vae"
    assert source.where("stages.7") == "hello.toml, line 15, stages.7"
    assert source.where("nothing") == "hello.toml, nothing"
    assert Source(name="hello.toml").where("stages.0") == "hello.toml, stages.0"


def test_where_spells_a_lone_model_as_the_file_does() -> None:
    source = parse(HELLO, name="hello.toml").source
    assert source.where("models.main.family") == "hello.toml, line 4, model.family"
    assert source.where("models.main.vae") == "hello.toml, line 3, model.vae"


# -- names and models ---------------------------------------------------------------------------

STAGE = '[[stages]]\nuse = "generate"\nprompt = "x"\n'
TINY = 'format = 1\n[model]\nfamily = "tiny-t2v"\n'


def named(name: str) -> str:
    return STAGE + f'name = "{name}"\n'


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        (STAGE * 3, ["generate", "generate-2", "generate-3"]),
        (named("a") + STAGE, ["a", "generate"]),
        (STAGE + named("generate"), ["generate-2", "generate"]),
        (named("generate-2") + STAGE * 2, ["generate-2", "generate", "generate-3"]),
    ],
)
def test_names_of_stages(stages: str, names: list[str]) -> None:
    assert [stage.name for stage in parse(TINY + stages).stages] == names


def test_a_reference_finds_a_stage_without_a_name_of_its_own() -> None:
    text = TINY + STAGE * 2 + '[[stages]]\nuse = "join"\nvideo = "generate-2.video"\n'
    assert parse(text).stages[2].options.video == "generate-2.video"


def test_references_chain_and_may_skip() -> None:
    text = TINY + STAGE + '[[stages]]\nuse = "join"\nvideo = "generate.video"\n'
    text += '[[stages]]\nuse = "join"\nvideo = "generate.video"\naudio = "join.audio"\n'
    assert parse(text).stages[2].options.audio == "join.audio"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("generate.video", "generate.video"),
        ("clip.mp4", Path("/work-here/clip.mp4")),
        ("./generate.video", Path("/work-here/generate.video")),
        ("/data/clip", Path("/data/clip")),
    ],
)
def test_a_source_that_may_be_a_file(written: str, kept: str | Path) -> None:
    text = TINY.replace("[model]", "[models.main]") + '[models.up]\nfamily = "flashvsr"\n' + STAGE
    text += f'[[stages]]\nuse = "upscale"\nvideo = "{written}"\n'
    assert parse(text).stages[1].options.video == kept


@pytest.mark.parametrize(
    ("models", "said", "model"),
    [
        ({"main": "tiny-t2v", "b": "tiny-t2v"}, "", "main"),
        ({"b": "tiny-t2v", "up": "flashvsr"}, "", "b"),
        ({"main": "flashvsr", "b": "tiny-t2v"}, "", "b"),
        ({"main": "tiny-t2v", "b": "tiny-t2v"}, 'model = "b"\n', "b"),
    ],
)
def test_which_model_a_stage_drives(models: dict[str, str], said: str, model: str) -> None:
    tables = "".join(f'[models.{name}]\nfamily = "{f}"\n' for name, f in models.items())
    assert parse("format = 1\n" + tables + STAGE + said).stages[0].model == model


def test_a_stage_that_no_family_names_needs_no_model() -> None:
    assert parse('format = 1\n[[stages]]\nuse = "silent"\n').stages[0].model is None
    assert parse(TINY + '[[stages]]\nuse = "silent"\nmodel = "main"').stages[0].model == "main"


# -- files --------------------------------------------------------------------------------------


def test_paths_start_from_the_workflows_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "hello.toml").write_text(HELLO)
    monkeypatch.chdir(tmp_path)
    workflow = load_workflow("sub/hello.toml", plugins=PLUGINS)
    assert workflow.output.path == tmp_path / "sub" / "out.mp4"
    assert workflow.source.name == "hello.toml"
    assert workflow.source.folder == tmp_path / "sub"


def test_windows_editors_are_welcome(tmp_path: Path) -> None:
    file = tmp_path / "hello.toml"
    file.write_bytes(b"\xef\xbb\xbf" + HELLO.replace("\n", "\r\n").encode())
    workflow = load_workflow(file, plugins=PLUGINS)
    assert attrs.evolve(workflow, output=OutputSpec()) == attrs.evolve(
        parse(HELLO), output=OutputSpec()
    )
    assert workflow.source.where("stages.0.prompt") == "hello.toml, line 8, stages.0.prompt"


def test_a_workflow_evolves() -> None:
    workflow = parse(HELLO)
    (stage,) = workflow.stages
    options = attrs.evolve(stage.options, steps=50)
    changed = attrs.evolve(workflow, stages=(attrs.evolve(stage, options=options),))
    assert changed.stages[0].options.steps == 50
    assert changed != workflow
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        changed.format = 2  # type: ignore[misc]


def test_specs_made_in_python_are_checked_too() -> None:
    with pytest.raises(WorkflowError, match='device must be "auto"'):
        ModelSpec("tiny-t2v", device="gpu")
    with pytest.raises(WorkflowError, match="name must be made of"):
        StageSpec("generate", "a.b", None, None)


def test_reading_imports_no_torch() -> None:
    here = Path(__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(here)!r})\n"
        "from workflow_fakes import PLUGINS\n"
        "from wan_core.workflow import parse_workflow, to_toml\n"
        f"to_toml(parse_workflow({FULL!r}, plugins=PLUGINS))\n"
        "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here.parents[1])


def test_an_empty_path_names_no_workflow() -> None:
    with pytest.raises(WorkflowError, match="no workflow is named, only empty text; name a"):
        load_workflow("", plugins=PLUGINS)


def test_a_workflow_from_standard_input_starts_paths_from_the_current_folder(
    tmp_path: Path,
) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from workflow_fakes import PLUGINS\n"
        "from wan_core.workflow import load_workflow\n"
        "print(load_workflow('/dev/stdin', plugins=PLUGINS).output.path)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)],
        input=HELLO, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path / 'out.mp4'}\n", done.stderr


def test_a_long_key_is_shortened_in_messages() -> None:
    with pytest.raises(WorkflowError) as caught:
        parse_workflow(f"{HELLO}{'k' * 5000} = 1\n", plugins=PLUGINS)
    assert len(str(caught.value)) < 400
    with pytest.raises(WorkflowError) as caught:
        parse_workflow(f"{'k' * 5000}\n", plugins=PLUGINS)
    assert len(str(caught.value)) < 400
