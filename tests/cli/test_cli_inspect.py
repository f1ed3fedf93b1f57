"""``wan-core inspect``: weights, workflows and videos, said from their headers."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_plugins import found
from header_files import write_gguf, write_safetensors, write_shards
from PIL import Image

from wan_core.cli import main
from wan_core.contract.descriptions import Component, Family, Preset
from wan_core.media import write_video
from wan_core.models.wan.config import WanConfig
from wan_core.models.wan.files import expected_shapes
from wan_core.weights import Identity, TensorSource, fingerprint

Install = Callable[..., None]
Capture = pytest.CaptureFixture[str]

T2V = expected_shapes(WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30))
T2V_14B = expected_shapes(WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40))
LIBRARIES = {"torch", "transformers", "av", "numpy", "PIL", "scipy", "safetensors", "rich"}

WORKFLOW = """
format = 1
[model]
family = "tiny-random"
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
steps = 3
[output]
path = "out.mp4"
"""


def as_json(capsys: Capture, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code = main(["inspect", "--json", *arguments])
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["files"]
    files: list[dict[str, Any]] = answer["files"]
    return code, files


def rows(text: str) -> dict[str, str]:
    """The questions of one file and what stands beside them."""
    split = (line.strip().partition("  ") for line in text.splitlines()[1:] if line.strip())
    return {question: answer.strip() for question, _, answer in split}


def test_a_transformer_and_the_slot_it_fits(tmp_path: Path, capsys: Capture) -> None:
    path = write_safetensors(tmp_path / "wan.safetensors", T2V, metadata={"by": "me", "\x1b": "x"})
    assert main(["inspect", str(path)]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[0], err) == (str(path), "")
    said = rows(out)
    assert said["what"].startswith("a Wan transformer (t2v, dim 1536")
    assert said["model"].startswith("Wan 2.1 text to video, 1.3 B")
    assert (said["names"], said["container"], said["tensors"]) == ("official", "safetensors", "825")
    assert (said["size"], said["parameters"]) == ("2.8 GB (2837993600 bytes)", "1.42 billion")
    assert (said["precision"], said["header"]) == ("bf16", "by = me")
    assert said["fits"] == 'family = "wan2.1-t2v-1.3b", transformer = "wan.safetensors"'
    assert "fingerprint" not in said
    assert "\x1b" not in out


def test_as_json(tmp_path: Path, capsys: Capture) -> None:
    index = write_shards(tmp_path, {f"model.diffusion_model.{n}": s for n, s in T2V_14B.items()}, 6)
    code, (facts,) = as_json(capsys, str(tmp_path), "--fingerprint")
    assert code == 0
    assert facts["kind"] == "weights"
    assert (facts["component"], facts["variant"]) == ("wan-transformer", "t2v")
    assert facts["details"]["dim"] == 5120
    assert (facts["dialect"], facts["prefix"]) == ("official", "model.diffusion_model.")
    assert facts["container"] == "safetensors, 6 shards"
    assert len(facts["files"]) == 6
    assert facts["bytes"] == 2 * facts["parameters"] == 28576983168
    assert facts["precision"]["scheme"] == "bf16"
    assert [fit["family"] for fit in facts["fits"]] == ["wan2.1-t2v-14b", "wan2.2-t2v-a14b"]
    assert facts["fingerprint"] == fingerprint(index)


def test_weights_that_fit_but_are_not_run(tmp_path: Path, capsys: Capture) -> None:
    types = {"blocks.0.self_attn.q.weight": "IQ2_XS"}
    path = write_gguf(tmp_path / "x.gguf", T2V, types)
    assert main(["inspect", str(path)]) == 0
    said = rows(capsys.readouterr().out)
    assert (said["container"], said["precision"]) == ("GGUF", "GGUF IQ2_XS")
    assert "(but the file holds quantised weights that are not read: tensor" in said["fits"]
    path = write_gguf(tmp_path / "y.gguf", T2V)
    assert main(["inspect", str(path)]) == 0
    assert "(but" not in rows(capsys.readouterr().out)["fits"]


def test_an_incomplete_transformer_says_so(tmp_path: Path, capsys: Capture) -> None:
    part = {name: shape for name, shape in T2V.items() if name != "head.head.bias"}
    main(["inspect", str(write_safetensors(tmp_path / "x.safetensors", part))])
    said = rows(capsys.readouterr().out)
    assert said["fits"].endswith("(but the transformer is incomplete: head.head.bias is missing)")


def test_a_lora(tmp_path: Path, capsys: Capture) -> None:
    module = "diffusion_model.blocks.0.self_attn.q"
    shapes = {f"{module}.lora_down.weight": (32, 1536), f"{module}.lora_up.weight": (1536, 32)}
    path = write_safetensors(tmp_path / "x.safetensors", {**shapes, f"{module}.alpha": ()})
    main(["inspect", str(path)])
    said = rows(capsys.readouterr().out)
    assert said["what"] == "a LoRA (rank 32, dim 1536, modules 1)"
    assert said["model"] == "a LoRA for Wan 2.1, 1.3 B"
    assert (said["form"], said["rank"]) == ("lora_down/lora_up, alpha", "32")
    assert said["keys"] == "3 for 1 module"
    width, _, families = said["made for"].partition(": ")
    assert width == "transformers of width 1536"
    assert {"wan2.1-t2v-1.3b", "wan2.1-vace-1.3b"} <= set(families.split(", "))  # and plugins'
    assert "fits" not in said


def test_one_failure_does_not_stop_the_others(tmp_path: Path, capsys: Capture) -> None:
    good = write_safetensors(tmp_path / "good.safetensors", {"a": (2,)})
    (tmp_path / "bad.toml").write_text("format = 1\nstages = 3")
    (tmp_path / "page.pth").write_text("<html>")
    names = [str(tmp_path / name) for name in ("bad.toml", "good.safetensors", "page.pth", "none")]
    assert main(["inspect", *names]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == str(good)
    assert "not recognised" in out
    assert len(err.splitlines()) == 3
    assert "page.pth: this is a web page, not a weight file; download it again." in err
    assert "none: there is no such file." in err
    assert main(["inspect", *names[1:]]) == 3
    capsys.readouterr()
    code, answers = as_json(capsys, *names)
    assert code == 2
    assert [answer.get("exit_code", 0) for answer in answers] == [2, 0, 3, 3]
    assert answers[3]["error"].endswith("there is no such file.")


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--json"], ["run"], ["plan"]])
def test_a_name_cannot_move_the_cursor(tmp_path: Path, capsys: Capture, command: list[str]) -> None:
    path = tmp_path / "a\x1b[2J\nb\u202e.toml"
    path.write_text("format = 1\nstages = 3")
    assert main([*command, str(path)]) == 2
    out, err = capsys.readouterr()
    assert len((out + err).splitlines()) == 1
    assert not {"\x1b", "\u202e", "\x07"} & set(out + err)


@pytest.mark.parametrize("name", ["flow.toml", "flow"])
def test_a_workflow(tmp_path: Path, capsys: Capture, name: str) -> None:
    (tmp_path / name).write_text(WORKFLOW)
    assert main(["inspect", str(tmp_path / name)]) == 0
    said = rows(capsys.readouterr().out)
    assert said["what"] == "a workflow of format 1"
    assert said["model main"].startswith("tiny-random: random weights")
    assert (
        said["stage generate"]
        == "generate: make a video from a prompt, from pictures or from another video"
    )
    assert "steps = 3" in said and "width = 32" in said  # what the family recommends, too
    assert said["output"] == str(tmp_path / "out.mp4")
    _, (facts,) = as_json(capsys, str(tmp_path / name))
    assert facts["models"]["main"]["family"] == "tiny-random"
    assert facts["stages"][0]["options"]["steps"] == 3
    assert facts["output"]["path"] == str(tmp_path / "out.mp4")


def test_of_a_sweep_the_first_run_is_shown(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "flow.toml").write_text(WORKFLOW.replace("steps", "seed = [7, 8]\nsteps"))
    assert main(["inspect", str(tmp_path / "flow.toml")]) == 0
    said = rows(capsys.readouterr().out)
    assert said["sweep"] == "2 runs; this is the first (seed 7)"
    assert "seed = 7" in said


def test_a_workflow_with_a_mistake_is_refused_in_its_sentence(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "flow.toml").write_text(WORKFLOW.replace("steps", "stepps"))
    assert main(["inspect", str(tmp_path / "flow.toml")]) == 2
    assert 'did you mean "steps"' in capsys.readouterr().err


def test_a_workflow_with_a_file_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    text = WORKFLOW.replace('"tiny-random"', '"wan2.1-t2v-1.3b"\ntransformer = "x.safetensors"')
    (tmp_path / "flow.toml").write_text(text)
    assert main(["inspect", str(tmp_path / "flow.toml")]) == 0
    assert "x.safetensors (not there)" in capsys.readouterr().out


def test_a_workflow_with_an_optional_file(tmp_path: Path, capsys: Capture) -> None:
    text = WORKFLOW.replace('"tiny-random"', '"wan2.1-t2v-1.3b"\npreview_vae = "x.safetensors"')
    (tmp_path / "flow.toml").write_text(text)
    (tmp_path / "x.safetensors").touch()
    for remarks in ("(optional)", "(optional, not there)"):
        assert main(["inspect", str(tmp_path / "flow.toml")]) == 0
        assert f"x.safetensors {remarks}" in capsys.readouterr().out
        (tmp_path / "x.safetensors").unlink(missing_ok=True)


COMMENTS = [
    ('{"seed": 7, "prompt": "a red circle\\u001b[31m"}', ['"seed": 7,', r"circle\u001b[31m"]),
    ("made \x07 by me\nsecond", [r"made \x07 by me", "second"]),
    ("[" * 2000, ["[["]),
]


@pytest.mark.parametrize(("comment", "says"), COMMENTS)
def test_a_video_and_the_note_inside(
    tmp_path: Path, capsys: Capture, comment: str, says: list[str]
) -> None:
    path = tmp_path / "x.mp4"
    frames = np.zeros((5, 32, 48, 3), np.uint8)
    write_video(path, [frames], 8, comment=comment)
    assert main(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in says)
    assert not any(ord(letter) < 32 and letter != "\n" for letter in out)
    said = rows(out)
    assert (said["width"], said["height"], said["frames"]) == ("48", "32", "5")
    _, (facts,) = as_json(capsys, str(path))
    assert (facts["kind"], facts["frames"], facts["fps"]) == ("media", 5, 8.0)
    if comment.startswith("{"):
        assert facts["comment"]["seed"] == 7


@pytest.mark.parametrize("comment", ['{"a": 1e999}', '{"a": NaN}', "[-Infinity]"])
def test_what_json_does_not_have_stays_text(tmp_path: Path, capsys: Capture, comment: str) -> None:
    path = tmp_path / "x.webp"
    write_video(path, [np.zeros((2, 32, 32, 3), np.uint8)], 8, comment=comment)
    _, (facts,) = as_json(capsys, str(path))
    assert facts["comment"] == comment


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_a_picture_lasts_no_time(tmp_path: Path, capsys: Capture, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    Image.new("RGB", (24, 16)).save(path)
    assert main(["inspect", str(path)]) == 0
    assert rows(capsys.readouterr().out) == {"width": "24", "height": "16"}


def test_some_names_of_what_nobody_knows(tmp_path: Path, capsys: Capture) -> None:
    names = ("icing.weight", "a\x1b[2J", "b", "c")
    path = write_safetensors(tmp_path / "x.safetensors", dict.fromkeys(names, (2,)))
    assert main(["inspect", str(path)]) == 0
    said = rows(capsys.readouterr().out)
    assert (said["what"], said["size"]) == ("not recognised", "16 bytes")
    assert said["names"] == "icing.weight, a\\x1b[2J, b, …"


def test_a_shard_is_called_one(tmp_path: Path, capsys: Capture) -> None:
    write_shards(tmp_path, {"a": (2,), "b": (2,)}, 2)
    assert main(["inspect", str(tmp_path / "model-00001-of-00002.safetensors")]) == 0
    assert "one shard of several: name their index, or the folder" in capsys.readouterr().out


def identify_cake(source: TensorSource) -> Identity | None:
    """What a plugin knows of its own files."""
    return Identity("cake", "", {"dim": 4}, "the cake model") if "icing" in source.names() else None


def identify_badly(source: TensorSource) -> Identity | None:
    raise RuntimeError("a bug of a plugin")


@pytest.mark.parametrize("function", ["identify_cake", "identify_badly"])
def test_a_plugin_knows_its_own_kinds(
    tmp_path: Path, capsys: Capture, install_plugins: Install, function: str
) -> None:
    part = Component("cake", "m:load", config={"dim": 4}, identify=f"{__name__}:{function}")
    preset = Preset(
        width=32, height=32, frames=5, fps=8, steps=2, shift=3.0, guidance=2.0, size_multiple=16
    )
    family = Family("cakes", "cakes", "text-to-video", {"oven": part}, preset)
    install_plugins(found("x", family))
    path = write_safetensors(tmp_path / "x.safetensors", {"icing": (4,)})
    assert main(["inspect", str(path)]) == 0
    said = rows(capsys.readouterr().out)
    if function == "identify_cake":
        assert (said["what"], said["model"]) == ("cake (dim 4)", "the cake model")
        assert said["fits"] == 'family = "cakes", oven = "x.safetensors"'
    else:
        assert said["what"] == "not recognised"


def test_no_file_is_a_mistake(capsys: Capture) -> None:
    assert main(["inspect"]) == 2
    assert "missing argument 'FILE...'" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["safetensors", "shards", "gguf", "workflow"])
def test_weights_are_inspected_without_any_library(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "workflow":
        path.write_text(WORKFLOW)
    elif kind == "shards":
        write_shards(path, T2V, 3)
    else:
        (write_gguf if kind == "gguf" else write_safetensors)(path, T2V)
    script = (
        "import sys; from wan_core.cli import main\n"
        f"code = main(['inspect', {str(path)!r}]);"
        f"print(code, sorted({LIBRARIES!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_memory_for_a_checkpoint_of_28_gb(tmp_path: Path, capsys: Capture) -> None:
    write_shards(tmp_path, T2V_14B, 6)
    tracemalloc.start()
    assert main(["inspect", str(tmp_path)]) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "28.6 GB" in capsys.readouterr().out
    assert peak < 50e6
