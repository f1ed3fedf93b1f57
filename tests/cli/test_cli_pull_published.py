"""What pull fetches for the published families, and what it fetches once for several of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import huggingface_hub.constants
import pytest
from fake_plugins import found
from hub_server import COMMIT, StandIn, serving

from wan_core.cli import main
from wan_core.config import huggingface_folder
from wan_core.contract.descriptions import Family, PublishedFile
from wan_core.models.families import FAMILIES

Install = Callable[..., None]
Capture = pytest.CaptureFixture[str]
PUBLISHED = {f.name: f for f in FAMILIES if any(c.published for c in f.components.values())}
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def shards(count: int) -> list[str]:
    return [
        f"diffusion_pytorch_model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)
    ]


SHARED = {
    "Wan-AI/Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth",
    "Wan-AI/Wan2.1-T2V-1.3B/google/umt5-xxl/tokenizer.json",
    "Wan-AI/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth",
}
CLIP = "Wan-AI/Wan2.1-I2V-14B-480P/models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"


def of(repository: str, *paths: str) -> set[str]:
    return {f"Wan-AI/{repository}/{path}" for path in paths}


def of_experts(repository: str) -> set[str]:
    folders = ("high_noise_model", "low_noise_model")
    return of(repository, *(f"{one}/{path}" for one in folders for path in (INDEX, *shards(6))))


FILES = {
    "wan2.1-t2v-1.3b": SHARED | of("Wan2.1-T2V-1.3B", "diffusion_pytorch_model.safetensors"),
    "wan2.1-t2v-14b": SHARED | of("Wan2.1-T2V-14B", INDEX, *shards(6)),
    "wan2.1-i2v-14b-480p": SHARED | {CLIP} | of("Wan2.1-I2V-14B-480P", INDEX, *shards(7)),
    "wan2.1-i2v-14b-720p": SHARED | {CLIP} | of("Wan2.1-I2V-14B-720P", INDEX, *shards(7)),
    "wan2.1-flf2v-14b": SHARED | {CLIP} | of("Wan2.1-FLF2V-14B-720P", INDEX, *shards(7)),
    "wan2.1-vace-1.3b": SHARED | of("Wan2.1-VACE-1.3B", "diffusion_pytorch_model.safetensors"),
    "wan2.1-vace-14b": SHARED | of("Wan2.1-VACE-14B", INDEX, *shards(7)),
    "wan2.2-t2v-a14b": SHARED | of_experts("Wan2.2-T2V-A14B"),
    "wan2.2-i2v-a14b": SHARED | of_experts("Wan2.2-I2V-A14B"),
    "wan2.2-ti2v-5b": SHARED - of("Wan2.1-T2V-1.3B", "Wan2.1_VAE.pth")
    | of("Wan2.2-TI2V-5B", INDEX, *shards(3), "Wan2.2_VAE.pth"),
}


def files_of(family: Family) -> list[PublishedFile]:
    return [file for part in family.components.values() for file in part.published]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_of_a_family(name: str) -> None:
    files = files_of(PUBLISHED[name])
    assert {file.name for file in files} == FILES[name]
    assert all(file.revision for file in files)
    slots = {file.slot for file in files}
    assert slots == {"", "tokenizer"}


def test_a_file_has_one_commit_and_one_sum_wherever_it_is_named() -> None:
    seen: dict[str, PublishedFile] = {}
    for family in PUBLISHED.values():
        for file in files_of(family):
            assert seen.setdefault(file.name, file) == file
    commits: dict[str, set[str]] = {}
    for file in seen.values():
        commits.setdefault(file.repository, set()).add(file.revision)
    assert {len(one) for one in commits.values()} == {1}
    # a sum without its size or of two different files would be a slip of the pen
    sums = [(file.path, file.sha256) for file in seen.values() if file.sha256]
    assert all(file.bytes for file in seen.values() if file.sha256)
    same = {sum_ for _, sum_ in sums if [one for _, one in sums].count(sum_) > 1}
    assert len(same) == 6  # the seventh shard of VACE 14B lies beside those of text to video


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with serving(
        StandIn({name: name.encode() for names in FILES.values() for name in names})
    ) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def small(family: Family) -> Family:
    """The family with the sums of what the stand-in has."""
    parts = {
        slot: attrs.evolve(
            part,
            published=tuple(
                attrs.evolve(
                    file,
                    revision=COMMIT,
                    sha256=hashlib.sha256(file.name.encode()).hexdigest(),
                    bytes=len(file.name),
                )
                for file in part.published
            ),
        )
        for slot, part in family.components.items()
    }
    return attrs.evolve(family, components=parts)


def test_what_several_families_share_is_fetched_once(
    install_plugins: Install, hub: StandIn, capsys: Capture
) -> None:
    names = ("wan2.1-i2v-14b-480p", "wan2.1-i2v-14b-720p", "wan2.1-flf2v-14b", "wan2.2-i2v-a14b")
    install_plugins(found("x", *(small(PUBLISHED[name]) for name in names)))
    there: set[str] = set()
    for name in names:
        hub.asked.clear()
        assert main(["models", "pull", name]) == 0
        fetched = {
            path.replace(f"/resolve/{COMMIT}", "")
            for method, path, _ in hub.asked
            if method == "GET" and "/resolve/" in path
        }
        assert fetched == FILES[name] - there
        there |= fetched
        assert (
            f'All is here: in a workflow, family = "{name}" is enough.' in capsys.readouterr().out
        )
    assert {CLIP, *SHARED} <= there


def test_a_dry_run_names_every_file_and_its_place(
    install_plugins: Install, hub: StandIn, capsys: Capture
) -> None:
    """With the real commits and sums; only what they don't tell is asked of the Hub."""
    family = PUBLISHED["wan2.1-i2v-14b-480p"]
    hub.commit = next(f.revision for f in files_of(family) if f.repository.endswith("480P"))
    install_plugins(found("x", family))
    assert main(["models", "pull", family.name, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cache = huggingface_folder()
    for file in files_of(family):
        folder = cache / ("models--" + file.repository.replace("/", "--"))
        place = folder / "snapshots" / file.revision / file.path
        assert any(line.split()[-1:] == [str(place)] for line in lines), file.name
    asked = {path.partition("/resolve/")[2] for _, path, _ in hub.asked}
    assert asked == {f"{hub.commit}/{path}" for path in (INDEX, *shards(7))}
    assert {method for method, *_ in hub.asked} == {"HEAD"}
    assert "CLIP" not in lines[-1] and lines[-1].split()[:2] == ["in", "all"]
    # the text encoder, its tokenizer, the VAE and CLIP, of known sizes, and next to nothing
    assert lines[-1].split()[2:4] == ["16.7", "GB"]
    assert not Path(cache).exists()
