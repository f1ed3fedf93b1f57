"""Plans with files that nobody has fetched: what they say is what they say with the files."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from published_files import TRANSFORMER_OF, manifest, needed, plan_with

from wan_core import Session
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WeightsError, WorkflowError
from wan_core.models import families
from wan_core.planning import Plan, make_plan
from wan_core.planning.fitting import bundled
from wan_core.planning.library import Library
from wan_core.plugins import Plugins
from wan_core.weights import open_weights
from wan_core.workflow import parse_workflow

FAMILIES = {
    one.name: one
    for one in vars(families).values()
    if isinstance(one, Family) and one.name in TRANSFORMER_OF
}
FOR_HEADERS = 2**20
"""Bytes of a published file beside its tensors, at most."""


def assumed(family: str, folder: Path, *lines: str, **options: bool) -> Plan:
    stage = "\n".join(lines)
    text = f"""
format = 1
model = {{ family = "{family}" }}
[[stages]]
use = "generate"
prompt = "x"
{stage}
[output]
path = "x.mp4"
"""
    plugins = Plugins.discover()
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=plugins)
    options = {"assume_files": True, **options}
    return make_plan(workflow, plugins, device="cpu", library=Library(()), **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_numbers_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    """Whose tensors are all in bfloat16 here, so what is stored differs and what is loaded does not."""
    family = FAMILIES[name]
    stage = needed(family, tmp_path)
    with_files = plan_with(family, tmp_path, stage=stage)
    without = assumed(name, tmp_path, stage)
    assert without.phases == with_files.phases
    for slot, file in without.models["main"].files.items():
        there = with_files.models["main"].files[slot]
        assert file.assumed and not there.assumed
        assert (file.identity.details, file.elements) == (there.identity.details, there.elements)


@pytest.mark.parametrize("name", FAMILIES)
def test_outlines_are_the_published_tensors_in_their_types(name: str) -> None:
    components = FAMILIES[name].components
    for slot, component in components.items():
        if not component.published:
            continue
        assert component.outline
        source = open_weights(bundled(component.outline))
        if slot.startswith("transformer"):
            shapes = manifest(TRANSFORMER_OF[name])
            assert {n: list(info.shape) for n, info in source.tensors.items()} == shapes
        own = [file for file in component.published if not file.slot and "index" not in file.path]
        if all(file.bytes for file in own):
            beside = sum(file.bytes for file in own) - source.nbytes
            assert 0 <= beside < FOR_HEADERS, f"{slot}: {beside}"


def test_the_plan_says_so(tmp_path: Path) -> None:
    sections = dict(assumed("wan2.1-t2v-1.3b", tmp_path).describe())
    assert len(sections["Files"]) == 3
    for line in sections["Files"]:
        assert "not here, assumed to be a" in line
    (note,) = [one for one in sections["Notes"] if "models pull" in one]
    assert note.endswith("wan-core models pull wan2.1-t2v-1.3b fetches them")


def test_nothing_is_assumed_unasked(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"model\.transformer.*--assume-files predicts"):
        assumed("wan2.1-t2v-1.3b", tmp_path, assume_files=False)


def test_such_a_plan_is_not_run(tmp_path: Path) -> None:
    plan = assumed("wan2.1-t2v-1.3b", tmp_path, "frames = 1")
    with (
        Session(cache=tmp_path / "cache") as session,
        pytest.raises(WeightsError, match=r"the transformer of family wan2.1-t2v-1.3b is not here"),
    ):
        session.run(attrs.evolve(plan))
    assert not (tmp_path / "x.mp4").exists()
