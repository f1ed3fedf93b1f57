"""The library finds what is there by the end of its path, and refuses to guess."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from shelf_makers import put, put_in_hub

from wan_core.contract.descriptions import PublishedFile
from wan_core.contract.errors import WorkflowError
from wan_core.planning import shelves
from wan_core.planning.library import Library, configured

TWO, THREE = "2" * 40, "3" * 40


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    root = tmp_path / "ComfyUI"
    for name in (
        "models/vae/wan_2.1_vae.safetensors",
        "models/vae/other/wan_2.1_vae.safetensors",
        "models/diffusion_models/wan/14b/high.safetensors",
        "models/unet/low.gguf",
        "models/text_encoders/umt5.pth",
        "models/vae/readme.txt",
        "models/.hidden/secret.safetensors",
        "output/mine.safetensors",
        "custom_nodes/x/node.safetensors",
    ):
        put(root / name, name)
    return root


def test_names_are_ends_of_paths(comfy: Path) -> None:
    library = Library([comfy])
    assert library.folders == (comfy / "models",)
    models = comfy / "models"
    for name, found in (
        ("high.safetensors", "diffusion_models/wan/14b/high.safetensors"),
        ("wan/14b/high.safetensors", "diffusion_models/wan/14b/high.safetensors"),
        ("ComfyUI/models/unet/low.gguf", "unet/low.gguf"),
        ("umt5.pth", "text_encoders/umt5.pth"),
        ("other/wan_2.1_vae.safetensors", "vae/other/wan_2.1_vae.safetensors"),
        ("vae/wan_2.1_vae.safetensors", "vae/wan_2.1_vae.safetensors"),
        ("14b", "diffusion_models/wan/14b"),
    ):
        assert library.find(name) == models / found, name
    for name in (
        "High.safetensors", "b/high.safetensors", "readme.txt", "secret.safetensors",
        "mine.safetensors", "node.safetensors", "../vae/other/wan_2.1_vae.safetensors", "",
    ):  # fmt: skip
        assert library.find(name) is None, name


def test_a_folder_counts_when_it_is_one_checkpoint(tmp_path: Path) -> None:
    put(tmp_path / "sharded/model.safetensors.index.json")
    for shard in "ab":
        put(tmp_path / f"sharded/{shard}.safetensors")
    put(tmp_path / "pipe/vae/diffusion_pytorch_model.safetensors")
    put(tmp_path / "pipe/vae/config.json")
    put(tmp_path / "google/umt5-xxl/spiece.model")
    for other in "ab":
        put(tmp_path / f"several/{other}.safetensors")
    library = Library([tmp_path])
    for name in ("sharded", "pipe/vae", "vae", "google/umt5-xxl"):
        assert library.find(name) == next(tmp_path.rglob(name)), name
    assert library.find("several") is None
    assert library.find("pipe") is None


def test_several_files_of_a_name_are_refused_with_the_candidates(comfy: Path) -> None:
    for number in range(6):
        put(comfy / f"models/vae/v{number}/wan_2.1_vae.safetensors", f"{number}")
    with pytest.raises(WorkflowError) as caught:
        Library([comfy]).find("wan_2.1_vae.safetensors")
    text = str(caught.value)
    assert '"wan_2.1_vae.safetensors" could be 8 files: "' in text
    assert text.count(str(comfy)) == 6
    assert text.endswith(" and 2 more; name more of the path.")


def test_files_of_a_name_in_two_folders_are_refused_and_copies_are_one(tmp_path: Path) -> None:
    put(tmp_path / "one/vae.safetensors", "1")
    put(tmp_path / "two/vae.safetensors", "2")
    first = put(tmp_path / "one/copied.safetensors", "same" * 5000)
    put(tmp_path / "two/copied.safetensors", "same" * 5000)
    only = put(tmp_path / "two/only.safetensors", "2")
    library = Library([tmp_path / "missing", tmp_path / "one", tmp_path / "two"])
    with pytest.raises(WorkflowError, match="could be 2 files"):
        library.find("vae.safetensors")
    assert library.find("two/vae.safetensors") == tmp_path / "two/vae.safetensors"
    assert library.find("copied.safetensors") == first
    assert library.find("only.safetensors") == only
    assert library.missing == (tmp_path / "missing",)


def test_one_file_under_two_names_is_one(tmp_path: Path) -> None:
    real = put(tmp_path / "a/vae.safetensors")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/vae.safetensors").symlink_to(real)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert Library([tmp_path]).find("vae.safetensors") == real


def test_links_that_lead_back_or_nowhere_and_locked_folders_do_no_harm(tmp_path: Path) -> None:
    real = put(tmp_path / "a/b/vae.safetensors")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(tmp_path / "a/self")
    (tmp_path / "a/gone.safetensors").symlink_to(tmp_path / "nowhere")
    outside = put(tmp_path.parent / f"{tmp_path.name}-disk/big.safetensors")
    (tmp_path / "disk").symlink_to(outside.parent)
    deep = tmp_path / "/".join("d" * 20)
    put(deep / "deep.safetensors")
    library = Library([tmp_path])
    assert library.find("vae.safetensors") == real
    assert library.find("disk/big.safetensors") == tmp_path / "disk/big.safetensors"
    for name in ("gone.safetensors", "deep.safetensors"):
        assert library.find(name) is None


def test_a_look_is_bounded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "MOST_ENTRIES", 10)
    for number in range(30):
        put(tmp_path / f"{number:02}.safetensors")
    library = Library([tmp_path])
    assert library.find("05.safetensors") and library.find("25.safetensors") is None
    (trouble,) = library.troubles
    assert "holds more than 10 files, the rest was not looked at" in trouble


def test_folders_are_looked_through_once_and_again_for_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    real = shelves.look_through
    monkeypatch.setattr(shelves, "look_through", lambda one: looks.append(one) or real(one))
    vae = put(tmp_path / "vae.safetensors")
    for _ in range(3):
        assert Library([tmp_path]).find("vae.safetensors") == vae
        assert Library([tmp_path]).find("new.safetensors") is None
    assert len(looks) == 1
    new = put(tmp_path / "new.safetensors")
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert Library([tmp_path]).find("new.safetensors") == new
    assert len(looks) == 2
    new.unlink()
    assert Library([tmp_path]).find("new.safetensors") is None


def test_in_the_hubs_cache_names_begin_with_the_repository(tmp_path: Path) -> None:
    vae = put_in_hub(tmp_path, "Wan-AI/Wan2.1", "Wan2.1_VAE.pth", b"vae", TWO, main=True)
    put_in_hub(tmp_path, "Wan-AI/Wan2.1", "Wan2.1_VAE.pth", b"older", THREE)
    old = put_in_hub(tmp_path, "Wan-AI/Wan2.1", "only/old.pth", b"old", THREE)
    put_in_hub(tmp_path, "Wan-AI/Other", "Wan2.1_VAE.pth", b"vae")
    put(tmp_path / "datasets--a--b/snapshots" / TWO / "x.safetensors")
    library = Library([tmp_path])
    for name in (
        "Wan-AI/Wan2.1/Wan2.1_VAE.pth",
        "Wan2.1/Wan2.1_VAE.pth",
        "Wan2.1_VAE.pth",  # the other repository's is the same content
    ):
        found = library.find(name)
        assert found is not None and found.read_bytes() == b"vae", name
    assert library.find("Wan2.1/Wan2.1_VAE.pth") == vae
    assert library.find("old.pth") == old
    for name in (f"{TWO}/Wan2.1_VAE.pth", "snapshots", "x.safetensors"):
        assert library.find(name) is None, name
    put_in_hub(tmp_path, "Wan-AI/Third", "Wan2.1_VAE.pth", b"different")
    library.look_again()
    with pytest.raises(WorkflowError, match="could be 2 files"):
        library.find("Wan2.1_VAE.pth")


def test_published_files_are_found_wherever_they_are(tmp_path: Path) -> None:
    file = PublishedFile("Wan-AI/Wan2.1", "sub/model.safetensors", THREE, bytes=3)
    hub, folder, renamed = tmp_path / "hub", tmp_path / "folder", tmp_path / "renamed"
    put_in_hub(hub, "Wan-AI/Wan2.1", "sub/model.safetensors", b"new", TWO, main=True)
    old = put_in_hub(hub, "Wan-AI/Wan2.1", "sub/model.safetensors", b"old", THREE)
    put(folder / "x/Wan2.1/sub/model.safetensors", "four")
    right = put(folder / "Wan2.1/sub/model.safetensors", "big")
    loose = put(renamed / "vae/model.safetensors", "abc")
    put(renamed / "model.safetensors", "other")
    assert Library([hub]).holds(file) == old
    assert Library([folder]).holds(file) == right
    assert Library([renamed]).holds(file) == loose
    assert Library([tmp_path / "none"]).holds(file) is None
    unknown = PublishedFile("Wan-AI/Wan2.1", "sub/model.safetensors")
    assert Library([renamed]).holds(unknown) is None


def test_a_sharded_component_is_here_when_all_of_it_is(tmp_path: Path) -> None:
    names = ("t/m.safetensors.index.json", "t/m-1.safetensors", "t/m-2.safetensors")
    files = [PublishedFile("Org/Big", name) for name in names]
    files.append(PublishedFile("Org/Big", "tokenizer.json", slot="tokenizer"))
    index = put(tmp_path / "Big" / names[0])
    put(tmp_path / "Big" / names[1])
    library = Library([tmp_path])
    assert library.holds(files[0]) == index
    assert library.component(files) is None
    put(tmp_path / "Big" / names[2])
    assert library.component(files) == index


def test_shards_count_under_the_name_of_their_repository_only(tmp_path: Path) -> None:
    """Two experts, or two models of one architecture, have shards of the same names and sizes."""
    names = (
        "m.safetensors.index.json",
        "m-00001-of-00002.safetensors",
        "m-00002-of-00002.safetensors",
    )
    high, low = (
        [PublishedFile("Org/Big", f"{expert}/{name}", bytes=1) for name in names]
        for expert in ("high", "low")
    )
    for name in names:
        put(tmp_path / "Big/high" / name)
    library = Library([tmp_path])
    assert library.component(high) == tmp_path / "Big/high" / names[0]
    assert library.component(low) is None
    assert [library.holds(file) for file in low] == [None] * 3


def test_a_pattern_is_the_folder_that_has_such_files(tmp_path: Path) -> None:
    file = PublishedFile("Org/Big", "t/part*.safetensors")
    one = put(tmp_path / "a/Big/t/part-1.safetensors")
    put(tmp_path / "b/Big/other/part-1.safetensors")
    assert Library([tmp_path]).holds(file) == one
    put(one.with_name("part-2.safetensors"))
    Library([tmp_path]).look_again()
    assert Library([tmp_path]).holds(file) == one.parent


def test_what_lies_in_the_folders(tmp_path: Path) -> None:
    inside = put(tmp_path / "models/vae.safetensors")
    outside = put(tmp_path / "else/vae.safetensors")
    (tmp_path / "models/link.safetensors").symlink_to(outside)
    (tmp_path / "else/back.safetensors").symlink_to(inside)
    (tmp_path / "models/circle").symlink_to(tmp_path / "models/circle")
    cached = put_in_hub(tmp_path / "hub", "Org/Big", "vae.pth")
    library = Library([tmp_path / "models", tmp_path / "hub"])
    for path, lies in (
        (inside, True),
        (tmp_path / "else/back.safetensors", True),
        (cached, True),
        (Path(shelves.__file__).parents[1] / "models/tiny/vae.safetensors", True),
        (outside, False),
        (tmp_path / "models/link.safetensors", False),
        (tmp_path / "models/../else/vae.safetensors", False),
        (Path(shelves.__file__), False),
    ):
        assert library.contains(path) == lies, path


def test_the_configured_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "c/config.toml"
    monkeypatch.setenv("WAN_CORE_CONFIG", str(config))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("WAN_CORE_MODELS", str(tmp_path / "env"))
    put(config, '[paths]\nmodels = "m"\n')
    library = configured(confined=True)
    assert library.folders == (tmp_path / "env", tmp_path / "c/m", tmp_path / "hub")
    assert library.missing == (tmp_path / "env", tmp_path / "c/m")
    assert library.confined
    put(config, "[paths]\nhuggingface = false\n")
    assert configured().folders == (tmp_path / "env",)
