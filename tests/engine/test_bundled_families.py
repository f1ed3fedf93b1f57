"""Families of a plugin whose files lie in its package, and that are another family's file and a LoRA."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_core import Session
from wan_core.cli import main
from wan_core.contract.descriptions import Component, Family
from wan_core.contract.errors import PluginError, WanCoreError
from wan_core.hookspecs import hookimpl
from wan_core.media import probe, read_frames
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, bundled, make_plan, read_record
from wan_core.planning.provenance import fingerprints
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

PACKAGE = "wan_plugin_of_a_test"
NAMES = [f"blocks.{block}.{part}" for block in range(2) for part in ("self_attn.q", "ffn.0")]
TEXT = """
format = 1
[model]
family = "{family}"
{model}
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
frames = 5
width = 32
height = 32
steps = 2
[output]
path = "{name}.mkv"
"""


def part(**changes: Any) -> dict[str, Component]:
    return {
        **TINY_T2V.components,
        "transformer": attrs.evolve(TINY_T2V.components["transformer"], **changes),
    }


class Brought:
    WAN_CORE_CONTRACT = (1, 1)

    @hookimpl
    def wan_register(self) -> Sequence[Family]:
        own = part(bundled=f"{PACKAGE}:tiny/own.safetensors")
        missing = part(bundled=f"{PACKAGE}:tiny/none.safetensors")
        lora = (f"{PACKAGE}:tiny/x.safetensors",)
        wide = part(config={**TINY_T2V.components["transformer"].config, "in_dim": 48})
        wider = (f"{PACKAGE}:tiny/wide.safetensors",)
        return [
            attrs.evolve(TINY_T2V, name="own", components=own),
            attrs.evolve(TINY_T2V, name="changed", loras=lora),
            attrs.evolve(TINY_T2V, name="wider", components=wide, loras=wider),
            attrs.evolve(TINY_T2V, name="missing", components=missing),
            attrs.evolve(TINY_T2V, name="no-lora", loras=(f"{PACKAGE}:none.safetensors",)),
            attrs.evolve(TINY_T2V, name="no-package", loras=("not_there_at_all:x.safetensors",)),
        ]


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("own", "own", "1", Brought)])


def write_lora(path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(bundled("tiny/t2v.safetensors"))
    made = {}
    for name in NAMES:
        rows, columns = weights[f"{name}.weight"].shape
        lead = f"diffusion_model.{name}"
        made[f"{lead}.lora_A.weight"] = torch.randn(4, columns, generator=generator)
        made[f"{lead}.lora_B.weight"] = 0.1 * torch.randn(rows, 4, generator=generator)
    save_file(made, path)


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A plugin's package, as pip would lay it down."""
    site = tmp_path_factory.mktemp("site")
    folder = site / PACKAGE / "tiny"
    folder.mkdir(parents=True)
    (site / PACKAGE / "__init__.py").write_text("")
    shutil.copy(bundled("tiny/t2v.safetensors"), folder / "own.safetensors")
    write_lora(folder / "x.safetensors", 1)
    diff = torch.ones(192, 48, 1, 2, 2)
    save_file({"diffusion_model.patch_embedding.diff": diff}, folder / "wide.safetensors")
    sys.path.insert(0, str(site))
    yield folder
    sys.path.remove(str(site))
    sys.modules.pop(PACKAGE, None)


def plan(
    folder: Path,
    family: str,
    model: str = "",
    name: str = "out",
    library: Library | None = None,
) -> Plan:
    text = TEXT.format(family=family, model=model, name=name)
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=library or Library(()))


def frames(made: Plan) -> np.ndarray:
    with Session(plugins=PLUGINS, device="cpu") as session:
        return np.stack(list(read_frames(session.run(made).outputs[0])))


def test_a_file_in_a_package_fills_the_slot(tmp_path: Path, package: Path) -> None:
    made = plan(tmp_path, "own")
    assert made.models["main"].files["transformer"].path == package / "own.safetensors"
    assert not made.models["main"].files["transformer"].found
    confined = Library((), confined=True)
    for family in ("own", "changed"):
        assert plan(tmp_path, family, library=confined)


def test_a_familys_loras_come_first_and_are_told(tmp_path: Path, package: Path) -> None:
    write_lora(tmp_path / "mine.safetensors", 2)
    mine = 'loras = [{ file = "mine.safetensors", strength = 0.5 }]'
    made = plan(tmp_path, "changed", mine)
    model = made.models["main"]
    files = [lora.use.file.name for lora in model.loras_of("transformer")]
    assert files == ["x.safetensors", "mine.safetensors"]
    told = dict(made.describe())["LoRAs"]
    assert [line.partition(",")[0] for line in told] == [
        "main.family.loras.0: x.safetensors",
        "main.loras.0: mine.safetensors",
    ]
    assert {"main.family.loras.0", "main.loras.0"} <= fingerprints(made).keys()

    shutil.copy(package / "x.safetensors", tmp_path / "x.safetensors")
    both = 'loras = [{ file = "x.safetensors" }, { file = "mine.safetensors", strength = 0.5 }]'
    by_hand, without = plan(tmp_path, "tiny-t2v", both, "hand"), plan(tmp_path, "tiny-t2v", "", "w")
    result = frames(made)
    np.testing.assert_array_equal(result, frames(by_hand))
    assert (result != frames(without)).any()
    record = read_record(probe(made.output).comment, where="out.mkv")
    assert record.weights["main.family.loras.0"] == model.family_loras[0].fingerprint


def test_on_quantised_weights_they_are_kept_apart(tmp_path: Path) -> None:
    original, small = str(bundled("tiny/t2v.safetensors")), tmp_path / "small.safetensors"
    assert main(["quantize", original, str(small), "--dtype", "int8", "--quiet"]) == 0
    made = plan(tmp_path, "changed", 'transformer = "small.safetensors"')
    (own,) = made.models["main"].apart_of("transformer")
    assert own.use.file.name == "x.safetensors"
    assert own.apart.startswith("small.safetensors is int8")
    assert made.models["main"].strengths("transformer", "generate") == ((1.0,),)


def test_a_file_that_is_wide_already_has_them_in_it(tmp_path: Path, package: Path) -> None:
    """A user's narrow file gets them as the bundled one does."""
    original, lora = str(bundled("tiny/t2v.safetensors")), f"--lora={package}/wide.safetensors"
    for name, more in (("narrow", []), ("merged", [lora])):
        out = str(tmp_path / f"{name}.safetensors")
        assert main(["quantize", original, out, "--dtype=int8", "--quiet", *more]) == 0
    for file, merged in (("", True), ("narrow", True), ("merged", False)):
        made = plan(tmp_path, "wider", f'transformer = "{file}.safetensors"' if file else "")
        model = made.models["main"]
        assert bool(model.loras_of("transformer")) == merged
        assert model.files["transformer"].details["in_dim"] == 48
        told = "merged.safetensors is as wide as the LoRA files that come with family wider make"
        assert any(note.startswith(told) for note in made.notes) == (not merged)


def test_models_tells_of_them(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(Plugins, "discover", classmethod(lambda cls, *_, **__: PLUGINS))
    assert main(["models", "changed"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert f"lora here tiny/x.safetensors comes with the package {PACKAGE}" in lines


@pytest.mark.parametrize(
    ("family", "says"),
    [
        (
            "missing",
            'w.toml, line 4, model.family: the file "tiny/none.safetensors" that should come with the package '
            f"{PACKAGE} is not there; install the package again.",
        ),
        (
            "no-lora",
            'w.toml, line 4, model.family: the file "none.safetensors" that should come with the package '
            f"{PACKAGE} is not there; install the package again.",
        ),
        (
            "no-package",
            'w.toml, line 4, model.family: the file "x.safetensors" that should come with the package '
            "not_there_at_all is not there; install the package again.",
        ),
    ],
)
def test_what_is_not_there_is_the_packages_fault(tmp_path: Path, family: str, says: str) -> None:
    with pytest.raises(WanCoreError) as caught:
        plan(tmp_path, family)
    assert isinstance(caught.value, PluginError)
    assert str(caught.value) == says


@pytest.mark.parametrize(
    "name", ["../x", "a:../x", "a:/x", ":x", "a b:x", "a:b:x", "a.:x", "/x", "", "a:", 5]
)
def test_a_name_that_leads_out_of_its_package_is_refused(name: Any) -> None:
    with pytest.raises(PluginError, match="bundled must be a file of an installed package"):
        part(bundled=name)
    with pytest.raises(PluginError, match="loras must be a tuple of files of installed packages"):
        attrs.evolve(TINY_T2V, loras=(name,))
