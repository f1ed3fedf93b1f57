"""``wan-core`` itself, ``plan``, ``plugins``, ``models``, and commands of plugins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from fake_engine import Script
from fake_plugins import found
from rich.cells import cell_len
from terminal import on_a_terminal

from wan_core.cli import main
from wan_core.contract.descriptions import (
    Command,
    Component,
    Family,
    Preset,
    PublishedFile,
    Solver,
    Stage,
)
from wan_core.models.families import (
    WAN21_FLF2V_14B,
    WAN21_I2V_14B_480P,
    WAN21_T2V_14B,
    WAN22_TI2V_5B,
)

Install = Callable[..., None]
Capture = pytest.CaptureFixture[str]

FAMILY = Family(
    name="big-t2v",
    title="a big model",
    task="text-to-video",
    components={
        "transformer": Component(
            "wan-transformer", "m:t",
            published=(PublishedFile("Org/Big", "sub/model.safetensors", bytes=7_000_000),),
        ),
        "vae": Component("wan-vae", "m:v", bundled="vae.safetensors"),
        "own": Component("other", "m:o"),
        "shards": Component("s", "m:s", published=(PublishedFile("Org/Big", "a/part*.safetensors"),)),
        "noise": Component("noise", "m:n", needs_file=False),
    },
    preset=Preset(
        width=832, height=480, frames=81, fps=23.976, steps=50, shift=5.0, guidance=(4.0, 3.5),
        negative_prompt="blurry, 模糊", boundary=0.875, sizes=((832, 480), (480, 832)),
    ),
)  # fmt: skip

LIBRARIES = {"torch", "transformers", "av", "numpy", "PIL", "scipy", "safetensors", "rich"}


def run_command(arguments: list[str]) -> int:
    """The command that a plugin of these tests brings."""
    print("got", arguments)
    return 3


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--help",
        "-h",
        "--version",
        "plugins",
        "plugins --json",
        "models",
        "models --json",
        "run -h",
        "doctor --help",
    ],
)
def test_looking_around_imports_no_library(arguments: str) -> None:
    script = (
        "import sys; from wan_core.cli import main\n"
        f"code = main({arguments.split()!r}); print(code, sorted({LIBRARIES!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_all_commands(
    install_plugins: Install, capsys: Capture, arguments: list[str]
) -> None:
    install_plugins(found("x", Command("bake", "Bake a cake.", "not.there:at_all")))
    assert main(arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    names = [words[0] for words in lines if words]
    assert {"run", "plan", "models", "plugins", "doctor", "bake"} <= set(names)
    assert ["bake", "Bake", "a", "cake."] in lines


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("wan-core ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pluggins"], 'there is no command "pluggins"; did you mean "plugins".'),
        (["run"], "wan-core run: missing argument 'WORKFLOW'; see wan-core run --help."),
        (
            ["run", "a", "b"],
            "wan-core run: got unexpected extra argument (b); see wan-core run --help.",
        ),
    ],
)  # fmt: skip
def test_mistakes_on_the_command_line(
    install_plugins: Install, capsys: Capture, arguments: list[str], sentence: str
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"{sentence}\n")


def test_a_command_of_a_plugin_gets_its_arguments(
    install_plugins: Install, capsys: Capture
) -> None:
    install_plugins(found("x", Command("bake", "Bake.", f"{__name__}:run_command")))
    assert main(["bake", "--hot", "-s", "a=b", "--help"]) == 3
    assert capsys.readouterr().out == "got ['--hot', '-s', 'a=b', '--help']\n"


def test_a_command_that_cannot_be_loaded_is_the_plugins_fault(
    install_plugins: Install, capsys: Capture
) -> None:
    install_plugins(found("x", Command("bake", "Bake.", "not_there:run")))
    assert main(["bake"]) == 4
    assert capsys.readouterr().err.startswith('command "bake" can\'t be loaded (No module named')


def test_a_plugin_cannot_take_the_name_of_a_built_in_command(
    install_plugins: Install, script: Script
) -> None:
    install_plugins(found("x", Command("run", "Mine.", f"{__name__}:run_command")))
    assert main(["run", "hello.toml", "--quiet"]) == 0


def test_help_helps_when_the_configuration_is_broken(
    own_configuration: Path, capsys: Capture
) -> None:
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text("[plugin]")
    assert main(["--help"]) == 0
    assert "Commands of plugins are missing" in capsys.readouterr().out
    assert main(["plugins"]) == 2


@pytest.fixture
def three(install_plugins: Install) -> None:
    install_plugins(
        found("ati", Stage("ati", "s", "o", "r"), Solver("a", "s", "b"), Solver("b", "s", "b")),
        found("humo"),
        found("ovi", error=ImportError("no module named ovi")),
    )


def test_plugins_says_who_brings_what_and_what_is_wrong(three: None, capsys: Capture) -> None:
    assert main(["plugins", "--without", "humo"]) == 0
    lines = [line.split(maxsplit=5) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["NAME", "DISTRIBUTION", "VERSION", "CONTRACT", "STATE", "PROVIDES"]
    assert lines[1] == ["ati", "wan-plugin-ati", "1.2", "1.1", "on", "stage: ati; solver: a, b"]
    assert lines[2] == ["humo", "wan-plugin-humo", "1.2", "-", "off", "-"]
    assert lines[3][3:5] == ["-", "broken"]
    text = "\n".join(" ".join(line) for line in lines)
    assert "ovi (wan-plugin-ovi 1.2): ImportError: no module named ovi" in text
    for way in ("--without NAME", "WAN_CORE_DISABLE=NAME,NAME", 'disable = ["NAME"]'):
        assert way in text


def test_plugins_can_be_switched_off_in_three_ways(
    three: None, own_configuration: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text('[plugins]\ndisable = ["ati", "not-installed"]')
    monkeypatch.setenv("WAN_CORE_DISABLE", "humo")
    assert main(["plugins", "--json", "--without", "ovi"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [p["enabled"] for p in listed["plugins"]] == [False, False, False]
    assert listed["problems"] == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("humor", '--without: there is no plugin "humor" to leave out; did you mean "humo".'),
        ("core", "--without core: the core can't be left out."),
    ],
)
def test_only_what_is_there_can_be_left_out(
    three: None, capsys: Capture, name: str, sentence: str
) -> None:
    assert main(["plugins", "--without", name]) == 4
    assert capsys.readouterr().err == f"{sentence}\n"


def test_models_lists_families_with_their_files(install_plugins: Install, capsys: Capture) -> None:
    install_plugins(found("x", FAMILY))
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "big-t2v: a big model",
        "  text-to-video; 832x480, 81 frames at 23.976 per second, 50 steps",
        "  transformer  not here, 7 MB  Org/Big: sub/model.safetensors",
        "  vae          here            comes with the package",
        "  own                          your own file",
        "  shards       not here        Org/Big: a/part*.safetensors",
        "  noise                        makes its own weights",
    ]


def test_models_says_what_is_here_and_what_is_wrong_with_the_folders(
    install_plugins: Install, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugins(found("x", FAMILY))
    model = tmp_path / "models/Big/sub/model.safetensors"
    model.parent.mkdir(parents=True)
    model.write_bytes(bytes(7_000_000))
    monkeypatch.setenv("WAN_CORE_MODELS", f"{tmp_path}/models:{tmp_path}/gone")
    assert main(["models"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2] == f"  transformer  here      {model}"
    assert printed.err == (
        f'warning: there is no folder "{tmp_path}/gone", which is named for models\n'
    )
    assert main(["models", "big-t2v", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["here"] == {
        "Org/Big/sub/model.safetensors": str(model),
        "Org/Big/a/part*.safetensors": None,
    }


def test_a_model_in_full(install_plugins: Install, capsys: Capture) -> None:
    install_plugins(found("x", FAMILY))
    assert main(["models", "big-t2v"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "width 832 (a multiple of 16)",
        "frames 81 (4 n + 1)",
        "fps 23.976",
        "guidance 4 at high noise, 3.5 at low noise",
        "boundary 0.875",
        "negative_prompt blurry, 模糊",
        "sizes 832x480, 480x832",
        'family = "big-t2v"',
        'transformer = "model.safetensors"',
        'own = "FILE"',
        'shards = "FILE" # part*.safetensors',
    ):
        assert line in lines
    assert not any(line.startswith("vae =") for line in lines)


def test_what_a_family_does_without_is_called_optional(
    install_plugins: Install, capsys: Capture
) -> None:
    look = Component("look", "m:k", optional=True)
    kept = Component("kept", "m:k", published=(PublishedFile("Org/Big", "k.bin"),), optional=True)
    parts = {"own": FAMILY.components["own"], "look": look, "kept": kept}
    install_plugins(found("x", attrs.evolve(FAMILY, components=parts)))
    assert main(["models", "big-t2v"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in ("look (optional) your own file", "kept (optional) not here Org/Big: k.bin"):
        assert line in lines
    assert lines[-3:] == [
        'own = "FILE"',
        '# look = "FILE" (optional)',
        '# kept = "k.bin" (optional)',
    ]
    assert main(["models", "big-t2v", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["components"]
    assert [told[slot]["optional"] for slot in parts] == [False, True, True]


def test_a_published_family_says_which_pictures_it_takes(
    install_plugins: Install, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugins(found("x", WAN21_I2V_14B_480P, WAN21_FLF2V_14B, WAN22_TI2V_5B, WAN21_T2V_14B))

    def lines(name: str) -> list[str]:
        assert main(["models", name]) == 0
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    shown = lines("wan2.1-i2v-14b-480p")
    assert "takes image, last_image (not trained), continues" in shown
    assert "needs image or continues" in shown
    index = "diffusion_pytorch_model.safetensors.index.json"
    repository = "Wan-AI/Wan2.1-I2V-14B-480P"
    assert f"transformer not here {repository}: {index} and 7 shards" in shown
    assert f'transformer = "Wan2.1-I2V-14B-480P/{index}"' in shown
    assert "needs image, last_image" in lines("wan2.1-flf2v-14b")
    shown = lines("wan2.2-ti2v-5b")
    assert "takes image" in shown and not any(line.startswith("needs") for line in shown)
    assert any(line.startswith("transformer not here, 20.0 GB Wan-AI/Wan2.2") for line in shown)
    assert not any(line.startswith("takes") for line in lines("wan2.1-t2v-14b"))
    folder = tmp_path / "Wan2.1-I2V-14B-480P"
    folder.mkdir()
    for file in WAN21_I2V_14B_480P.components["transformer"].published:
        (folder / file.path).touch()
    monkeypatch.setenv("WAN_CORE_MODELS", str(tmp_path))
    assert f"transformer here {folder}/{index} and 7 shards" in lines("wan2.1-i2v-14b-480p")


def test_models_as_json(install_plugins: Install, capsys: Capture) -> None:
    install_plugins(found("x", FAMILY))
    assert main(["models", "big-t2v", "--json"]) == 0
    family = json.loads(capsys.readouterr().out)
    assert family["preset"]["guidance"] == [4.0, 3.5]
    assert family["components"]["transformer"]["published"][0]["repository"] == "Org/Big"
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"families": [family]}


def test_an_unknown_model_is_an_error(install_plugins: Install, capsys: Capture) -> None:
    install_plugins(found("x", FAMILY))
    assert main(["models", "big-t2w"]) == 4
    assert capsys.readouterr().err.endswith('did you mean "big-t2v".\n')


def test_plan_prints_a_workflow_that_can_be_run_and_comments(
    script: Script, capsys: Capture
) -> None:
    import tomllib

    assert main(["plan", "hello.toml", "-s", "a=1", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert tomllib.loads(printed) == {"format": 1}
    assert printed == "format = 1\n\n# Machine\n#   CPU, 2 cores\n\n# Notes\n#   one\n#   two\n"
    assert (script.asked["overrides"], script.asked["device"]) == (("a=1",), "cpu")


def test_plan_as_json(script: Script, capsys: Capture) -> None:
    assert main(["plan", "hello.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "workflow": {"format": 1},
        "plan": {"Machine": ["CPU, 2 cores"], "Notes": ["one", "two"]},
    }


def test_a_reader_of_a_listing_who_leaves_is_no_error() -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "wan_core", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout and run.stderr
    run.stdout.close()
    assert run.stderr.read() == b""
    assert run.wait(timeout=20) == 141


def test_on_a_terminal_long_cells_are_wrapped_at_its_edge() -> None:
    seen = on_a_terminal([sys.executable, "-m", "wan_core", "models", "wan2.1-t2v-1.3b"])
    lines = [line.rstrip("\r") for line in seen.split("\n")]
    (start,) = [i for i, line in enumerate(lines) if "negative_prompt" in line]
    column = lines[start].index("色")
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[start + 1].startswith(" " * column) and lines[start + 1][column] != " "


def test_a_command_that_a_built_in_one_hides_is_a_problem(
    install_plugins: Install, capsys: Capture
) -> None:
    install_plugins(found("x", Command("run", "Run away.", "not.there:at_all")))
    problem = 'command "run" of plugin x (wan-plugin-x 1.2) can\'t be called, wan-core has its own'
    assert main(["plugins"]) == 0
    assert problem in capsys.readouterr().out
    assert main(["plugins", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == [problem]


def test_a_listing_on_a_full_disk_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wan_core", "models"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (5, "the disk is full; free some space.\n")


def test_an_empty_name_of_a_workflow(install_plugins: Install, capsys: Capture) -> None:
    assert main(["plan", ""]) == 2
    assert capsys.readouterr().err == (
        "no workflow is named, only empty text; name a workflow.toml.\n"
    )
