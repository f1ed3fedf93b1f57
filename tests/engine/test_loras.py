"""LoRA files on the bundled model: planned by their headers, merged when it loads, recorded in the video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_core import Session
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WanCoreError
from wan_core.contract.loras import LoraUse
from wan_core.contract.requests import LoadRequest
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.families import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.planning import Library, Plan, bundled, make_plan, read_record
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

TRANSFORMER = bundled("tiny/t2v.safetensors")
CPU = torch.device("cpu")
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


class TwoExperts:
    WAN_CORE_CONTRACT = (1, 0)

    @hookimpl
    def wan_register(self) -> list[Family]:
        part = TINY_T2V.components["transformer"]
        others = {k: c for k, c in TINY_T2V.components.items() if k != "transformer"}
        experts = {f"transformer.{one}": part for one in ("high", "low")}
        preset = attrs.evolve(TINY_T2V.preset, boundary=0.8)
        return [attrs.evolve(TINY_T2V, name="two", components=experts | others, preset=preset)]


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("two", "two", "1", TwoExperts)])


def tensors() -> dict[str, Tensor]:
    with safe_open(TRANSFORMER, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def factors(seed: int = 0, lead: str = "lora_unet_") -> dict[str, Tensor]:
    """Random factors for the queries and the feed-forwards of all blocks, in kohya's names."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, weight in tensors().items():
        if name.startswith("blocks.") and name.endswith(("attn.q.weight", "ffn.0.weight")):
            path = lead + name.removesuffix(".weight").replace(".", "_")
            made[f"{path}.lora_down.weight"] = torch.randn(4, weight.shape[1], generator=generator)
            made[f"{path}.lora_up.weight"] = 0.1 * torch.randn(
                weight.shape[0], 4, generator=generator
            )
            made[f"{path}.alpha"] = torch.tensor(2.0)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(factors(), tmp_path / "x.safetensors")
    return tmp_path


def plan(
    folder: Path, loras: str, family: str = "tiny-t2v", name: str = "out", more: str = ""
) -> Plan:
    text = TEXT.format(family=family, model=f"loras = [{loras}]\n{more}", name=name)
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


def refusal(folder: Path, loras: str, **more: Any) -> str:
    with pytest.raises(WanCoreError) as caught:
        plan(folder, loras, **more)
    return str(caught.value).replace(str(folder), "")


# -- planning -------------------------------------------------------------------------------------------


def test_the_plan_tells_what_a_file_changes(folder: Path) -> None:
    made = plan(
        folder, '{ file = "x.safetensors", strength = 0.8, blocks = "0-1, 6", skip = ["ffn"] }'
    )
    (told,) = dict(made.describe())["LoRAs"]
    assert told == (
        "main.loras.0: x.safetensors, a LoRA (rank 4, dim 192, modules 21), strength 0.8, "
        "all of its 63 tensors match, changes 6 weights of transformer, merged"
    )
    assert not made.models["main"].loras[0].notes


def test_a_file_that_changes_nothing_is_noted(folder: Path) -> None:
    made = plan(folder, '{ file = "x.safetensors", blocks = "30-39" }')
    assert (
        made.notes[0] == "x.safetensors changes nothing: blocks and skip leave none of its weights"
    )
    assert (
        not plan(folder, '{ file = "x.safetensors", strength = 0 }').models["main"].loras[0].notes
    )


def test_what_counts_for_nothing_is_not_kept_and_a_slip_in_skip_is_noted(folder: Path) -> None:
    made = plan(folder, '{ file = "x.safetensors", strength = [0, -0.0] }')
    (told,) = dict(made.describe())["LoRAs"]
    assert told.endswith("strength [0, 0], all of its 63 tensors match, changes nothing")
    (told,) = dict(
        plan(folder, '{ file = "x.safetensors", blocks = "0", skip = ["attn"] }').describe()
    )["LoRAs"]
    assert "changes 1 weight of transformer" in told
    made = plan(folder, '{ file = "x.safetensors", skip = ["fnn", "attn"] }')
    assert made.notes[0] == 'x.safetensors: skip names "fnn", which none of its weights contains'


def test_each_expert_has_its_own(folder: Path) -> None:
    loras = (
        '{ file = "x.safetensors", transformer = "high" }, { file = "x.safetensors", strength = 2 }'
    )
    model = plan(folder, loras, "two").models["main"]
    assert [lora.changes for lora in model.loras] == [
        {"transformer.high": 21},
        {"transformer.high": 21, "transformer.low": 21},
    ]
    assert [len(model.loras_of(f"transformer.{one}")) for one in ("high", "low")] == [2, 1]
    assert "one transformer, not one for high and one for low noise" in refusal(
        folder, '{ file = "x.safetensors", transformer = "low" }'
    )


def test_a_file_whose_names_say_low_noise_is_for_that_expert(folder: Path) -> None:
    """Unless the workflow says that it is for the other one."""
    pair = {"lora_A.weight": torch.ones(2, 192), "lora_B.weight": torch.ones(192, 2)}
    names = {f"transformer_2.blocks.0.attn1.to_q.{key}": one for key, one in pair.items()}
    save_file(names, folder / "low.safetensors")
    changes = {}
    for said in ("both", "low", "high"):
        entry = f'{{ file = "low.safetensors", transformer = "{said}" }}'
        model = plan(folder, entry, "two").models["main"]
        changes[said] = model.loras[0].changes
        assert [len(model.loras_of(f"transformer.{one}")) for one in ("high", "low")] == [
            said == "high",
            said != "high",
        ]
    assert changes["both"] == changes["low"] == {"transformer.low": 1}
    assert changes["high"] == {"transformer.high": 1}
    # of one transformer there is no second
    assert plan(folder, '{ file = "low.safetensors" }').models["main"].loras[0].changes == {
        "transformer": 1
    }


def test_what_has_no_place_is_refused_or_left_out(folder: Path) -> None:
    more = {f"lora_unet_blocks_{n}_ffn_0.diff_b": torch.zeros(544) for n in (0, 7, 8, 10)}
    save_file(factors() | more, folder / "more.safetensors")
    entry = '{ file = "more.safetensors"'
    assert refusal(folder, entry + " }") == (
        "w.toml, line 5, model.loras.0.file, more.safetensors: the model has no place for 3 of the LoRA's "
        "67 tensors: 'lora_unet_blocks_7-8,10_ffn_0.diff_b' (the model has no such module); "
        "use a LoRA that was made for this model, or go on without them with unmatched = "
        '"skip".'
    )
    made = plan(folder, entry + ', unmatched = "skip" }')
    assert made.models["main"].loras[0].changes == {"transformer": 22}
    assert made.notes[0].startswith(
        "more.safetensors is used in part: left out are 3 of the LoRA's 67"
    )
    (told,) = dict(made.describe())["LoRAs"]
    assert ", 64 of its 67 tensors match, changes 22 weights of transformer, merged" in told


def test_a_file_without_alpha_may_mean_rank_stabilised_scales(folder: Path) -> None:
    down, up = torch.ones(4, 192), torch.ones(192, 4)
    path = "base_model.model.blocks.0.cross_attn.k"
    save_file(
        {f"{path}.lora_A.weight": down, f"{path}.lora_B.weight": up}, folder / "p.safetensors"
    )
    assert "states no alpha" in plan(folder, '{ file = "p.safetensors" }').notes[0]
    made = plan(folder, '{ file = "p.safetensors", scaling = "rank-stabilised" }')
    assert not made.models["main"].loras[0].notes
    use = made.models["main"].loras[0].use
    name = "blocks.0.cross_attn.k.weight"
    change = weights(use)[name] - weights()[name]
    assert torch.allclose(change, torch.full_like(change, 4 * 2.0))  # rank 4: alpha 8


# -- loading --------------------------------------------------------------------------------------------


def weights(*uses: LoraUse, file: Path = TRANSFORMER, dtype: torch.dtype = torch.float32) -> Any:
    part = TINY_T2V.components["transformer"]
    request = LoadRequest("transformer", part, file, CPU, dtype, loras=uses)
    return load_transformer(request).transformer.state_dict()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loaded_weights_are_those_merged_by_hand(folder: Path, dtype: torch.dtype) -> None:
    got = weights(LoraUse(folder / "x.safetensors", 0.8), dtype=dtype)
    parts = factors()
    base = tensors()
    for name in base:
        path = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        if f"{path}.alpha" in parts:
            change = parts[f"{path}.lora_up.weight"] @ parts[f"{path}.lora_down.weight"]
            base[name] = base[name].float() + 0.8 * (change * 0.5)
    save_file({name: t.contiguous() for name, t in base.items()}, folder / "merged.safetensors")
    want = weights(file=folder / "merged.safetensors", dtype=dtype)
    assert got.keys() == want.keys()
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_strength_0_leaves_every_bit(folder: Path) -> None:
    got, base = weights(LoraUse(folder / "x.safetensors", 0.0)), weights()
    assert all(torch.equal(got[name], base[name]) for name in base)
    twice = LoraUse(folder / "x.safetensors", 1.0), LoraUse(folder / "x.safetensors", -1.0)
    near = weights(*twice)
    assert all(torch.allclose(near[name], base[name], atol=1e-5) for name in base)


# -- runs -----------------------------------------------------------------------------------------------


def test_a_video_with_a_lora(folder: Path) -> None:
    save_file(factors(1), folder / "y.safetensors")
    runs = {
        "base": "",
        "none": '{ file = "x.safetensors", strength = 0 }',
        "x": '{ file = "x.safetensors" }',
        "again": '{ file = "x.safetensors" }',
        "y": '{ file = "y.safetensors" }',
    }
    frames = {}
    with Session(plugins=PLUGINS) as session:
        for name, loras in runs.items():
            result = session.run(plan(folder, loras, name=name))
            frames[name] = np.stack(list(read_frames(result.outputs[0])))
        resident = session._residencies["cpu"]._residents
        # one transformer for each set of files that changes it, and what all share
        assert len([one for one in resident.values() if "transformer" in one.title]) == 3
        assert len(resident) == 5
    assert np.array_equal(frames["base"], frames["none"])
    assert np.array_equal(frames["x"], frames["again"])
    for one, other in (("base", "x"), ("x", "y")):
        assert np.abs(frames[one].astype(int) - frames[other]).max() > 20


def test_strengths_by_step_are_counted_over_both_experts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of six steps are for the expert for high noise; the other one goes on where it stopped."""
    monkeypatch.setitem(globals(), "TEXT", TEXT.replace("steps = 2", "steps = 6"))
    entries = {
        "low": 'transformer = "low"',
        "late": "strength = [0, 0, 0, 1, 1, 1]",
        "later": "strength = [0, 0, 0, 0, 1, 1]",
    }
    frames = {}
    with Session(plugins=PLUGINS) as session:
        for name, entry in entries.items():
            made = plan(folder, f'{{ file = "x.safetensors", {entry} }}', "two", name)
            frames[name] = np.stack(list(read_frames(session.run(made).outputs[0]))).astype(int)
    assert np.abs(frames["late"] - frames["low"]).max() <= 2
    assert np.abs(frames["later"] - frames["low"]).max() > 20


def test_the_record_names_the_files(folder: Path) -> None:
    from wan_core.planning.provenance import places, record

    made = plan(folder, '{ file = "x.safetensors" }')
    found = record(made, PLUGINS, {})
    assert found is not None
    lora = made.models["main"].loras[0]
    again = read_record(found.to_text(), where="x.mkv")
    assert again.weights["main.loras.0"] == lora.fingerprint
    assert places(made, {})[lora.fingerprint] == folder / "x.safetensors"
    assert again.workflow is not None
    assert 'file = "x.safetensors"' in again.workflow


def test_a_changed_file_is_another(folder: Path) -> None:
    made = plan(folder, '{ file = "x.safetensors" }')
    changed = {name: 2 * tensor for name, tensor in load_file(folder / "x.safetensors").items()}
    save_file(changed, folder / "x.safetensors")
    after = plan(folder, '{ file = "x.safetensors" }')
    one, other = (p.models["main"].loras[0].key for p in (made, after))
    assert one != other
