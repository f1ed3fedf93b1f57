"""Planning finds the files a workflow names, or leaves out, in the library."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from shelf_makers import put, put_in_hub

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Description, PublishedFile
from wan_core.contract.errors import WanCoreError, WeightsError, WorkflowError
from wan_core.engine import Session
from wan_core.hookspecs import hookimpl
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import Workflow, parse_workflow

TINY = bundled("tiny")
SIZE = (TINY / "vae.safetensors").stat().st_size
PUBLISHED = {
    "transformer": (PublishedFile("Org/Small", "t2v.safetensors", "1" * 40),),
    "text_encoder": (
        PublishedFile("Org/Small", "text_encoder.safetensors"),
        PublishedFile("Org/Small", "google/umt5-xxl/tokenizer.json", slot="tokenizer"),
    ),
    "vae": (PublishedFile("Org/Small", "vae/vae.safetensors", bytes=SIZE),),
}
SMALL = attrs.evolve(
    TINY_T2V,
    name="small",
    components={
        slot: attrs.evolve(part, bundled=None, published=PUBLISHED[slot])
        for slot, part in TINY_T2V.components.items()
    },
)


def _plugins() -> Plugins:
    plugin = SimpleNamespace(WAN_CORE_CONTRACT=CONTRACT_VERSION)

    @hookimpl
    def wan_register() -> list[Description]:
        return [SMALL]

    plugin.wan_register = wan_register
    core = next(iter(installed_entry_points()))
    return Plugins([core, Found("small", "wan-plugin-small", "1", lambda: plugin)])


PLUGINS = _plugins()


def workflow(folder: Path, keys: str = "", family: str = "tiny-t2v") -> Workflow:
    text = (
        f'format = 1\n[model]\nfamily = "{family}"\n{keys}\n'
        '[[stages]]\nuse = "generate"\nprompt = "a circle"\n'
    )
    folder.mkdir(exist_ok=True)
    return parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)


def plan(
    library: Library, folder: Path, keys: str = "", family: str = "tiny-t2v", device: str = "cpu"
) -> Plan:
    return make_plan(workflow(folder, keys, family), PLUGINS, device=device, library=library)


def refusal(library: Library, folder: Path, keys: str = "", family: str = "tiny-t2v") -> str:
    with pytest.raises(WanCoreError) as caught:
        plan(library, folder, keys, family)
    return str(caught.value)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def copy(models: Path, name: str, to: str) -> Path:
    """A file of the tiny model in a folder of models."""
    target = models / to
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(TINY / name, target)
    return target


def test_a_name_is_looked_for_in_the_library(models: Path, tmp_path: Path) -> None:
    vae = copy(models, "vae.safetensors", "vae/tiny_vae.safetensors")
    tokenizer = copy(models, "tokenizer.json", "text/umt5/tokenizer.json")
    made = plan(
        Library([models]), tmp_path / "w", 'vae = "vae/tiny_vae.safetensors"\ntokenizer = "umt5"'
    )
    model = made.models["main"]
    assert model.files["vae"].path == vae
    assert model.files["vae"].found and not model.files["transformer"].found
    assert model.tokenizer is not None and model.tokenizer.path == tokenizer
    (line,) = [line for line in dict(made.describe())["Files"] if "tiny_vae" in line]
    assert line.endswith(f", found in {vae.parent}")
    # the workflow stays as it was written: it holds on another machine
    assert made.workflow.models == workflow(tmp_path / "w", 'vae = "vae/tiny_vae.safetensors"\n'
        'tokenizer = "umt5"').models  # fmt: skip


def test_a_file_beside_the_workflow_comes_first(models: Path, tmp_path: Path) -> None:
    copy(models, "vae.safetensors", "vae.safetensors")
    shutil.copytree(TINY, tmp_path / "w")
    made = plan(Library([models]), tmp_path / "w", 'vae = "vae.safetensors"')
    assert made.models["main"].files["vae"].path == tmp_path / "w/vae.safetensors"
    assert not made.models["main"].files["vae"].found


@pytest.mark.parametrize("given", ["../vae.safetensors", "/nowhere/vae.safetensors"])
def test_only_relative_names_are_looked_for(
    models: Path,
    tmp_path: Path,
    given: str,
) -> None:
    copy(models, "vae.safetensors", "vae.safetensors")
    said = refusal(Library([models]), tmp_path / "w", f'vae = "{given}"')
    assert said.startswith("w.toml, line 4, model.vae: ")
    assert said.endswith("vae.safetensors does not exist; correct the path.")


def test_what_is_not_found_is_said_with_the_nearest_name(models: Path, tmp_path: Path) -> None:
    copy(models, "vae.safetensors", "vae/wan_2.1_vae.safetensors")
    said = refusal(Library([models, tmp_path / "no"]), tmp_path, 'vae = "wan_2_1_vae.safetensors"')
    assert said == (
        f"w.toml, line 4, model.vae: {tmp_path}/wan_2_1_vae.safetensors does not exist, and nothing in "
        f'"{models}" is called so; did you mean "wan_2.1_vae.safetensors".'
    )
    for other, near in (
        ("WAN_2.1_VAE.safetensors", 'did you mean "wan_2.1_vae.safetensors"'),
        ("wan_2.1_vae.gguf", 'did you mean "wan_2.1_vae.safetensors"'),
        ("pipe.safetensors", "correct the path"),  # the same ending is no likeness
    ):
        said = refusal(Library([models]), tmp_path, f'vae = "{other}"')
        assert said.endswith(f'nothing in "{models}" is called so; {near}.')
    said = refusal(Library([]), tmp_path, 'vae = "x.safetensors"')
    assert said.endswith(
        "does not exist, and there are no model folders to look in; correct the path."
    )


def test_a_published_name_leads_to_pull(tmp_path: Path) -> None:
    said = refusal(Library([]), tmp_path, 'transformer = "some/t2v.safetensors"', "small")
    assert said.endswith("; run wan-core models pull small, or correct the path.")


def test_two_files_of_a_name_are_told_with_the_line(models: Path, tmp_path: Path) -> None:
    copy(models, "vae.safetensors", "a/vae.safetensors")
    put(models / "b/vae.safetensors")
    with pytest.raises(WorkflowError, match=r'^w\.toml, line 4, model\.vae: "vae\.safetensors" co'):
        plan(Library([models]), tmp_path / "w", 'vae = "vae.safetensors"')


def test_a_family_alone_runs_when_its_files_are_here(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    said = refusal(Library([hub]), tmp_path, family="small")
    assert said == (
        "w.toml, line 2, model.transformer: family small needs a transformer file; "
        'run wan-core models pull small, or add transformer = "FILE".'
    )
    library = Library([hub])
    for file in (one for files in PUBLISHED.values() for one in files):
        content = (TINY / Path(file.path).name).read_bytes()
        put_in_hub(hub, file.repository, file.path, content)
    library.look_again()
    with Session(plugins=PLUGINS, device="cpu", library=library) as session:
        made = session.plan(workflow(tmp_path, family="small"))
    snapshot = hub / "models--Org--Small/snapshots" / ("1" * 40)
    for slot, files in PUBLISHED.items():
        assert made.models["main"].files[slot].path == snapshot / files[0].path
    tokenizer = made.models["main"].tokenizer
    assert tokenizer is not None and tokenizer.path is not None
    assert tokenizer.path.parent == snapshot / "google/umt5-xxl"


def test_the_tokenizer_may_be_in_another_folder(models: Path, tmp_path: Path) -> None:
    for slot in ("t2v", "text_encoder"):
        copy(models, f"{slot}.safetensors", f"Small/{slot}.safetensors")
    copy(models, "vae.safetensors", "anywhere/vae.safetensors")
    said = refusal(Library([models]), tmp_path / "w", family="small")
    assert "no tokenizer was found" in said and "model.text_encoder" in said
    file = copy(models, "tokenizer.json", "elsewhere/Small/google/umt5-xxl/tokenizer.json")
    Library([models]).look_again()
    made = plan(Library([models]), tmp_path / "w", family="small")
    tokenizer = made.models["main"].tokenizer
    assert tokenizer is not None and tokenizer.path == file


def test_a_confined_library_keeps_a_workflow_inside(models: Path, tmp_path: Path) -> None:
    copy(models, "vae.safetensors", "vae/inside.safetensors")
    shutil.copytree(TINY, tmp_path / "w")
    library = Library([models], confined=True)
    made = plan(library, tmp_path / "w", 'vae = "inside.safetensors"')
    assert made.models["main"].files["vae"].found
    (models / "leak.safetensors").symlink_to(tmp_path / "w/vae.safetensors")
    (models / "leak").mkdir()
    (models / "leak/tokenizer.json").symlink_to(tmp_path / "w/tokenizer.json")
    (models / "shards").mkdir()
    (models / "shards/s.safetensors").symlink_to(tmp_path / "w/t2v.safetensors")
    library.look_again()
    for keys in (
        'vae = "vae.safetensors"',
        'vae = "../w/vae.safetensors"',
        f'vae = "{tmp_path}/w/vae.safetensors"',
        'vae = "leak.safetensors"',
        'transformer = "shards"',
        'tokenizer = "tokenizer.json"',
        'tokenizer = "leak"',
    ):
        with pytest.raises(WeightsError, match="lies outside the model folders") as caught:
            plan(Library([models], confined=True), tmp_path / "w", keys)
        assert caught.value.where.startswith("w.toml, line 4, model."), keys
    # a file of the package is fine, and so is all of this to its owner
    assert plan(library, tmp_path / "w").models["main"].files["vae"].path.is_relative_to(TINY)
    assert plan(Library([models]), tmp_path / "w", 'vae = "vae.safetensors"')
