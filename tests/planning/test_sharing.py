"""Components that models have in common: which they are, and what a plan says and counts of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from calibrations import calibration_of

from wan_core.contract.descriptions import Family
from wan_core.contract.placement import Placement
from wan_core.hookspecs import hookimpl
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.planning.bounds import Bounds
from wan_core.planning.calibration import save_calibration
from wan_core.planning.known import what_is_known
from wan_core.planning.machine import look
from wan_core.planning.placements import place
from wan_core.planning.sharing import identity_of, key_of, together
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow


def changed(name: str, **parts: Mapping[str, Any]) -> Family:
    """A family of another name, whose components are those of the tiny one but for what is said."""
    components = dict(TINY_T2V.components)
    for slot, changes in parts.items():
        components[slot] = attrs.evolve(components[slot], **changes)
    return attrs.evolve(TINY_T2V, name=name, components=components)


FAMILIES = (
    changed("same"),
    changed("known-size", vae={"config": {"z_dim": 16}}, text_encoder={"published": ()}),
    changed("short-texts", text_encoder={"config": {"text_len": 32}}),
    changed("other-loader", vae={"load": "wan_core.models.loaders:random_vae"}),
)


class Families:
    WAN_CORE_CONTRACT = (1, 0)

    @hookimpl
    def wan_register(self) -> list[Family]:
        return list(FAMILIES)


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("four", "four", "1", Families)])
STAGE = """[[stages]]
use = "generate"
name = "{name}"
model = "{name}"
prompt = "a {name} circle"
negative_prompt = ""
frames = 5
width = 32
height = 32
steps = 2
"""


def planned(folder: Path, **models: str) -> Plan:
    """A plan with a stage for each model, by name; what a model is follows its family."""
    text = "format = 1\n"
    for name, family in models.items():
        text += f"[models.{name}]\nfamily = {family}\n"
    for name, family in models.items():
        given = 'image = "one.video"\n' if "i2v" in family else ""
        text += STAGE.format(name=name) + given
    workflow = parse_workflow(
        f'{text}[output]\npath = "out.mp4"', name="w.toml", folder=folder, plugins=PLUGINS
    )
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


SHARED = {"text_encoder", "vae", "transformer"}


@pytest.mark.parametrize(
    ("other", "common"),
    [
        ('"tiny-t2v"', SHARED),
        ('"same"', SHARED),
        ('"tiny-i2v"', {"text_encoder", "vae"}),
        ('"known-size"', SHARED),
        ('"short-texts"', {"vae", "transformer"}),
        ('"other-loader"', {"text_encoder", "transformer"}),
        ('"same"\nprecision = "bfloat16"', set()),
        ('"same"\nquantization = {dtype = "int8"}', {"text_encoder", "vae"}),
        ('"same"\ncompile = true', {"text_encoder", "vae"}),
        ('"same"\nvae = "copy.safetensors"', SHARED),
        ('"same"\ntokenizer = "tokenizer.json"', SHARED),
    ],
)
def test_what_models_have_in_common(other: str, common: set[str], tmp_path: Path) -> None:
    shutil.copy(bundled("tiny/vae.safetensors"), tmp_path / "copy.safetensors")
    shutil.copy(bundled("tiny/tokenizer.json"), tmp_path)
    plan = planned(tmp_path, one='"tiny-t2v"', two=other)
    one, two = plan.models.values()
    slots = one.family.components.keys() & two.family.components.keys()
    assert {slot for slot in slots if key_of(one, slot) == key_of(two, slot)} == common


def test_a_vae_is_the_same_in_another_precision(tmp_path: Path) -> None:
    plan = planned(tmp_path, one='"tiny-t2v"', two='"same"\nprecision = "bfloat16"')
    one, two = plan.models.values()
    assert identity_of(one, "vae") == identity_of(two, "vae")
    assert identity_of(one, "vae") != identity_of(one, "text_encoder")


def test_each_component_is_told_once(tmp_path: Path) -> None:
    sections = dict(
        planned(tmp_path, one='"tiny-t2v"', two='"same"', three='"short-texts"').describe()
    )
    files = {line.partition(":")[0]: line for line in sections["Files"]}
    assert list(files) == [
        "one.transformer, two.transformer, three.transformer",
        "one.text_encoder, two.text_encoder",
        "one.vae, two.vae, three.vae",
        "three.text_encoder",
    ]
    once = [name for name, line in files.items() if line.endswith(", loaded once")]
    assert once == [name for name in files if "," in name]


def test_a_shared_text_encoder_is_counted_once(tmp_path: Path) -> None:
    plan = planned(tmp_path, one='"tiny-t2v"', two='"same"', three='"short-texts"')
    texts = [phase.stage for phase in plan.phases if phase.slot == "text_encoder"]
    assert texts == ["one", "three"]
    assert together(plan.models, "text_encoder") == [("one", "two"), ("three",)]
    encoder = plan.models["two"].weight_bytes("text_encoder")
    (phase, *_) = (one for one in plan.phases if one.slot == "text_encoder")
    assert phase.weights == encoder
    # whichever of its models asks, it gets the room that it needs
    for name in ("one", "two"):
        assert plan.headroom("text", plan.models[name], "text_encoder") == phase.activations


def test_its_time_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "cache"))
    save_calibration(calibration_of(look("cpu")))
    alone = planned(tmp_path, one='"tiny-t2v"').seconds
    both = planned(tmp_path, one='"tiny-t2v"', two='"same"').seconds
    apart = planned(tmp_path, one='"tiny-t2v"', two='"short-texts"').seconds
    loading, encoding = "text / loading text encoder", "text / encoding"
    assert both[loading] == alone[loading]
    assert apart[loading] == pytest.approx(2 * alone[loading])
    # the negative prompt, which both have, is encoded once
    assert alone[encoding] < both[encoding] < 2 * alone[encoding]
    assert "two / loading vae" not in both


def test_it_has_one_placement(tmp_path: Path) -> None:
    """As the larger need has it: of two stages on one transformer the second needs its blocks away."""
    plan = planned(tmp_path, one='"tiny-t2v"', two='"same"')
    large = attrs.evolve(plan.stages[1].needs.size, width=96, height=96, frames=33)
    stages = (
        plan.stages[0],
        attrs.evolve(plan.stages[1], needs=attrs.evolve(plan.stages[1].needs, size=large)),
    )
    models = {name: model.on("cuda:0", "float32") for name, model in plan.models.items()}
    staged = [(stage, what_is_known(stage, models)) for stage in stages]
    texts = {name: plan.texts[name] for name in models}
    budgets = [
        Bounds(vram=budget, ram=10**9, stated_vram=budget, stated_ram=None, host=10**9)
        for budget in range(985_000_000, 1_010_000_000, 1_000_000)
    ]
    found: list[tuple[Placement, Placement]] = []
    for bounds in budgets:
        made = place(models, staged, plan.workflow.memory, bounds, texts)
        found.append((made["one"].placement("transformer"), made["two"].placement("transformer")))
    assert all(one == two for one, two in found)
    assert len({one.swapped for one, _ in found}) > 2
