"""The record in a video: what it says, what it keeps to itself, and what a stranger's is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.planning import make_plan, read_record
from wan_core.planning.provenance import Provenance, input_sums, portable_name, record
from wan_core.plugins import Plugins
from wan_core.workflow import parse_workflow

PLUGINS = Plugins.discover()
PROMPT = "a small red circle moves right on a black background"
TEXT = """
format = 1
[model]
family = "tiny-t2v"
vae = "{vae}"
[[stages]]
use = "generate"
prompt = "{prompt}"
seed = 5
[output]
path = "{path}"
provenance = "{kind}"
"""
VAE = Path(__import__("wan_core").__file__).parent / "models" / "tiny" / "vae.safetensors"


def made(folder: Path, kind: str = "full", vae: Path = VAE) -> Provenance | None:
    text = TEXT.format(prompt=PROMPT, kind=kind, vae=vae, path=folder / "secret" / "out.mp4")
    workflow = parse_workflow(text, name="w.toml", folder=folder / "home", plugins=PLUGINS)
    return record(make_plan(workflow, PLUGINS), PLUGINS, {"threads": "2"})


def test_the_record_holds_what_a_rerun_needs(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert found is not None
    again = read_record(found.to_text(), where="x.mp4")
    assert again == found
    assert again.workflow is not None
    assert PROMPT in again.workflow
    assert "steps = 24" in again.workflow  # the family's preset, spelled out
    assert again.seeds == {"generate": 5}
    slots = ("transformer", "text_encoder", "vae", "tokenizer")
    assert again.weights.keys() == {f"main.{slot}" for slot in slots}
    assert all(len(value) == 64 for value in again.weights.values())
    assert again.versions.keys() >= {"wan-core", "torch", "python"}
    assert again.machine == {"threads": "2"}


def test_no_folder_of_this_machine_is_told(tmp_path: Path) -> None:
    found = made(tmp_path)
    assert found is not None
    for private in (str(tmp_path), "secret", str(VAE.parent)):
        assert private not in found.to_text()
    assert 'vae = "tiny/vae.safetensors"' in (found.workflow or "")


def test_the_way_up_from_the_workflow_is_not_told(tmp_path: Path) -> None:
    own = tmp_path / "ann" / "private" / "vae.safetensors"
    own.parent.mkdir(parents=True)
    (tmp_path / "home").mkdir()
    own.write_bytes(VAE.read_bytes())
    found = made(tmp_path, vae=Path("../ann/private/vae.safetensors"))
    assert found is not None
    assert 'vae = "private/vae.safetensors"' in (found.workflow or "")


def test_numbered_pictures_are_hashed_together(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.new("L", (8, 8), number).save(pictures / f"{number}.png")

    def sums(video: str) -> dict[str, str]:
        text = f"""\
format = 1
model = {{ family = "tiny-t2v" }}
[[stages]]
use = "generate"
prompt = "a circle"
video = "{video}"
"""
        return input_sums(parse_workflow(text, name="w.toml", folder=tmp_path, plugins=PLUGINS))

    before = sums("pictures/%d.png")
    assert before.keys() == {"stages.0.video"} and before == sums("pictures")
    Image.new("L", (8, 8), 99).save(pictures / "1.png")
    assert sums("pictures") != before
    assert sums("missing/%d.png") == {} == sums("missing.mp4")


def test_hashes_tell_no_text(tmp_path: Path) -> None:
    full, hashes = made(tmp_path), made(tmp_path, "hashes")
    assert full is not None
    assert hashes is not None
    assert "circle" not in hashes.to_text()
    assert hashes.workflow is None
    assert hashes.seeds == full.seeds
    assert hashes.weights == full.weights
    assert made(tmp_path, "none") is None


def test_the_hash_of_a_workflow_does_not_depend_on_the_machine(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "tiny" / "vae.safetensors"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(VAE.read_bytes())
    one, two = made(tmp_path), made(tmp_path / "elsewhere", vae=copy)
    assert one == two


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/models/Wan2.1/vae.pth", "Wan2.1/vae.pth"),
        ("/vae.pth", "vae.pth"),
        ("/home/ann/vae.pth", "vae.pth"),
        ("/Users/ann/vae.pth", "vae.pth"),
        (str(Path.home() / "vae.pth"), "vae.pth"),
        (f"/scratch/{Path.home().name}/vae.pth", "vae.pth"),
        ("/data/w/../../home/ann/vae.pth", "vae.pth"),
        ("/h/hub/models--Wan-AI--Wan2.1/snapshots/3f/google/t.json", "Wan-AI/Wan2.1/google/t.json"),
    ],
)
def test_portable_names(path: str, name: str) -> None:
    assert portable_name(Path(path)) == Path(name)


def text_of(**changes: Any) -> str:
    good = Provenance("w", "format = 1", "0" * 64, {"a": 1}, {}, {}, {"wan-core": "1"}, {})
    fields = {"made_by": "wan-core 1", "format": 1, **attrs.asdict(good), **changes}
    return json.dumps({key: value for key, value in fields.items() if value != "GONE"})


@pytest.mark.parametrize(
    "comment", [None, "", "hello", "{}", '{"made_by": "ComfyUI"}', "[" * 10_000, text_of() + " " * 2**18]
)  # fmt: skip
def test_other_comments_are_no_record(comment: str | None) -> None:
    with pytest.raises(MediaError, match=r"x.mp4: this file does not say how it was made"):
        read_record(comment, where="x.mp4")


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "1"},
        {"workflow": 3},
        {"seeds": {"a": "x"}},
        {"seeds": [1]},
        {"seeds": {"a": float("inf")}},
        {"weights": {"a": {}}},
        {"weights": "GONE"},
        {"machine": None},
        {"name": None},
    ],
)
def test_damaged_records_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MediaError, match="damaged"):
        read_record(text_of(**changes), where="x.mp4")
    assert read_record(text_of(), where="x.mp4").seeds == {"a": 1}


def test_a_newer_record_asks_for_a_newer_program() -> None:
    with pytest.raises(MediaError, match=r"of format 2, this wan-core knows format 1; update"):
        read_record(text_of(format=2), where="x.mp4")


def test_a_damaged_json_is_refused() -> None:
    with pytest.raises(MediaError, match="damaged"):
        read_record(text_of()[:-5], where="x.mp4")
    with pytest.raises(MediaError, match="damaged"):
        read_record('{"made_by": "wan-core 1", "a": ' + "[" * 50_000, where="x.mp4")
