"""``--untrusted``: what a stranger's workflow can't read, and where it can't write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from real_commands import Call, Write

import wan_core

VAE = Path(wan_core.__file__).parent / "models" / "tiny" / "vae.safetensors"


def test_it_writes_into_one_folder(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "downloads").mkdir()
    assert call("run", write("downloads/w.toml"), "--untrusted").code == 0
    assert (tmp_path / "outputs" / "clip.mp4").exists()
    assert not (tmp_path / "downloads" / "clip.mp4").exists()


@pytest.mark.parametrize(
    "path", ["../clip.mp4", "a/../../clip.mp4", "/tmp/clip.mp4", "~/clip.mp4", "outputs/../../clip.mp4"]
)  # fmt: skip
def test_it_writes_nowhere_else(call: Call, write: Write, tmp_path: Path, path: str) -> None:
    (tmp_path / "d").mkdir()
    said = call("run", write("d/w.toml", path=path), "--untrusted")
    assert said.code == 2
    assert "w.toml, line 9, output.path: " in said.err
    assert "--untrusted writes nowhere else" in said.err
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["d", "w.toml"]


def test_a_link_in_the_folder_leads_nowhere(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs" / "link").symlink_to(tmp_path / "elsewhere")
    said = call("run", write(path="link/clip.mp4"), "--untrusted")
    assert said.code == 2
    assert not list((tmp_path / "elsewhere").iterdir())


def test_nor_does_a_field_that_names_a_link(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "outputs" / "a-circle").symlink_to(tmp_path / "elsewhere")
    said = call("run", write(path="{prompt}/clip.mp4"), "--untrusted")
    assert said.code == 2
    assert "--untrusted writes nowhere else" in said.err
    assert not list((tmp_path / "elsewhere").iterdir())


def test_pictures_do_not_become_the_folder_itself(call: Call, write: Write, tmp_path: Path) -> None:
    said = call("run", write(path="%05d.png", stage="seed = [1, 2]"), "--untrusted")
    assert said.code == 2
    assert 'give them a folder of their own, such as "clip/%05d.png"' in said.err
    assert call("run", write(path="a/%05d.png", stage="seed = [1, 2]"), "--untrusted").code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["outputs", "w.toml"]
    made = sorted(p.name for p in (tmp_path / "outputs").iterdir())
    assert made == ["a-1", "a-2", "w-sheet.png"]


def test_the_user_says_where(call: Call, write: Write, tmp_path: Path) -> None:
    said = call("run", write(path="/etc/x.mp4"), "--untrusted", "-o", "mine.mp4")
    assert said.code == 0
    assert (tmp_path / "mine.mp4").exists()


def test_it_replaces_nothing_whatever_it_says(call: Call, write: Write, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "clip.mp4").write_text("mine")
    workflow = write(output="overwrite = true")
    assert call("run", workflow, "--untrusted").code == 7
    assert (tmp_path / "outputs" / "clip.mp4").read_text() == "mine"
    assert call("run", workflow, "--untrusted", "--overwrite").code == 0


def with_vae(write: Write, vae: Path) -> Path:
    workflow = write(stage="width=32\nheight=32\nframes=5\nsteps=1")
    text = workflow.read_text()
    workflow.write_text(
        text.replace('family = "tiny-random"', f'family = "tiny-t2v"\nvae = "{vae}"')
    )
    return workflow


def test_weights_outside_the_model_folders_are_not_read(
    call: Call, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copy(VAE, tmp_path / "secret.safetensors")
    (tmp_path / "models" / "link.safetensors").symlink_to(tmp_path / "secret.safetensors")
    shutil.copy(VAE, tmp_path / "models" / "vae.safetensors")
    monkeypatch.setenv("WAN_CORE_MODELS", str(tmp_path / "models"))
    for path in (tmp_path / "secret.safetensors", tmp_path / "models" / "link.safetensors"):
        said = call("plan", with_vae(write, path), "--untrusted")
        assert said.code == 3
        assert "lies outside the model folders" in said.err
    inside = with_vae(write, tmp_path / "models" / "vae.safetensors")
    assert call("plan", inside, "--untrusted").code == 0
    # without the option it is the user's own business
    assert call("plan", with_vae(write, tmp_path / "secret.safetensors")).code == 0
