"""LoRA files kept apart in workflows: by stage and by step, on plain and on quantised weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from wan_core import Session
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WanCoreError
from wan_core.contract.events import Event, Note
from wan_core.engine.compiling import VARIABLES
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.memory import compiled
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.planning.provenance import fingerprints, places, record
from wan_core.planning.vram_table import table_of_budgets
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.weights import QuantLinear, open_weights
from wan_core.weights.lora import LoraLinear
from wan_core.weights.numbers import unpacked
from wan_core.weights.quantised.packed import pack
from wan_core.workflow import MemorySpec, parse_workflow, to_toml

TRANSFORMER = bundled("tiny/t2v.safetensors")
STAGE = """
[[stages]]
use = "generate"
name = "{name}"
prompt = "a small red circle moves right on a black background"
frames = 5
width = 32
height = 32
steps = 3
seed = 5
{more}
"""


class MergesOnly:
    WAN_CORE_CONTRACT = (1, 0)

    @hookimpl
    def wan_register(self) -> list[Family]:
        part = attrs.evolve(TINY_T2V.components["transformer"], keeps_apart=False)
        components = {**TINY_T2V.components, "transformer": part}
        return [attrs.evolve(TINY_T2V, name="merges-only", components=components)]


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("m", "m", "1", MergesOnly)])


def tensors() -> dict[str, Tensor]:
    with safe_open(TRANSFORMER, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def factors(seed: int) -> dict[str, Tensor]:
    """Random factors for half the layers of the blocks, and a few differences."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return 0.4 * torch.randn(shape, generator=generator)

    made = {}
    for name, weight in tensors().items():
        path = name.removesuffix(".weight")
        if name.startswith("blocks.") and name.endswith(("attn.q.weight", "ffn.0.weight")):
            made[f"{path}.lora_down.weight"] = random(4, weight.shape[1])
            made[f"{path}.lora_up.weight"] = random(weight.shape[0], 4)
    made["blocks.0.norm3.diff"] = random(192)
    made["blocks.1.diff_m"] = random(1, 6, 192)
    made["head.head.diff_b"] = 0.1 * random(len(tensors()["head.head.bias"]))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate("xy"):
        save_file(factors(seed), made / f"{name}.safetensors")
    stored = {}
    for name, weight in tensors().items():
        if name.startswith("blocks.") and weight.ndim == 2:
            scale = weight.float().abs().max() / 448
            stored[name] = (weight.float() / scale).to(torch.float8_e4m3fn)
            stored[f"{name.removesuffix('.weight')}.scale_weight"] = scale
        else:
            stored[name] = weight
    save_file(stored, made / "fp8.safetensors")
    return made


def plan(
    folder: Path, model: str = "", *stages: str, family: str = "tiny-t2v", memory: str = ""
) -> Plan:
    text = f'format = 1\n[model]\nfamily = "{family}"\n{model}\n'
    for number, more in enumerate(stages or ("",)):
        text += STAGE.format(name="abc"[number], more=more)
    text += f'{memory}\n[output]\npath = "out.mkv"\noverwrite = true\n'
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


def x(entry: str = "") -> str:
    return f'loras = [{{ file = "x.safetensors"{entry} }}]'


# -- what the plan decides --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "stage", "why"),
    [
        (x(), "", ""),
        (x(", merge = true"), "", ""),
        (x(", strength = [0.5]"), "", ""),
        (x(", merge = false"), "", "merge = false"),
        (x(", strength = [1, 0.5]"), "", "its strength changes by step"),
        (
            x() + '\ntransformer = "fp8.safetensors"',
            "",
            "fp8.safetensors is fp8 e4m3fn, one",
        ),
        (x() + "\nquantization = {}", "", ""),
        (
            x() + '\ntransformer = "fp8.safetensors"\nquantization = { products = "fp8" }',
            "",
            "fp8.safetensors is fp8 e4m3fn, one scale",
        ),
        (x(", merge = false") + "\nquantization = {}", "", "merge = false"),
        ("", x(), "it belongs to a stage"),
    ],
)
def test_merged_or_apart(folder: Path, model: str, stage: str, why: str) -> None:
    made = plan(folder, model, stage)
    ((place, lora),) = made.models["main"].every_lora.items()
    assert lora.apart.startswith(why) and bool(lora.apart) == bool(why)
    assert place == ("stages.a.loras.0" if stage else "main.loras.0")
    (told,) = dict(made.describe())["LoRAs"]
    assert (f"kept apart ({why}" if why else ", merged") in told
    counted = len(made.models["main"].apart_of("transformer"))
    assert counted + len(made.models["main"].loras_of("transformer")) == 1
    assert counted == bool(why)


@pytest.mark.parametrize(
    ("model", "stage", "family", "sentence"),
    [
        (
            x(", merge = true, strength = [1, 0]"),
            "",
            "tiny-t2v",
            "w.toml, line 4, model.loras.0.merge: x.safetensors can't be merged into the weights: its "
            "strength changes by step; leave merge out.",
        ),
        (
            x(", merge = true") + '\ntransformer = "fp8.safetensors"',
            "",
            "tiny-t2v",
            "x.safetensors can't be merged into the weights: fp8.safetensors is fp8 e4m3fn, one",
        ),
        (
            "",
            x(", merge = true"),
            "tiny-t2v",
            "stages.0.loras.0.merge: x.safetensors can't be merged",
        ),
        (
            x(", strength = [1, 0, 1, 1]"),
            "",
            "tiny-t2v",
            "w.toml, line 4, model.loras.0.strength: strength has 4 numbers for 3 steps; give one for each "
            "step at most.",
        ),
        (
            "",
            x(", strength = [1, 0, 1, 1]"),
            "tiny-t2v",
            "stages.0.loras.0.strength: strength has 4",
        ),
        (
            x(", merge = false"),
            "",
            "merges-only",
            "x.safetensors has to be kept apart from the weights (merge = false), and family merges-only "
            "only merges; use the bf16 or fp16 file",
        ),
        ("", 'loras = [{ file = "z.safetensors" }]', "tiny-t2v", "stages.0.loras.0.file: "),
        ("", x(", strength = 101"), "tiny-t2v", "strength must be from -100 to 100, not 101"),
        ("", x(", strength = []"), "tiny-t2v", "strength must have 1 to 1000 numbers, not 0"),
        (
            "",
            x(', strength = "1"'),
            "tiny-t2v",
            'strength must be a number or a list of numbers, not "1"',
        ),
        ("", x(", merge = 1"), "tiny-t2v", "merge must be true or false, not 1"),
        ("", "loras = 3", "tiny-t2v", "loras must be a list of tables, not 3"),
    ],
)
def test_what_can_not_be(folder: Path, model: str, stage: str, family: str, sentence: str) -> None:
    with pytest.raises(WanCoreError) as caught:
        plan(folder, model, stage, family=family)
    assert sentence in str(caught.value).replace(str(folder), "")


def test_what_stages_share_lies_there_once(folder: Path) -> None:
    both = 'loras = [{ file = "x.safetensors", strength = 0.5 }, { file = "y.safetensors" }]'
    twice = 'loras = [{ file = "x.safetensors", strength = [1, 2] }, { file = "x.safetensors" }]'
    model = plan(folder, x(", merge = false"), both, "", twice).models["main"]
    names = [lora.use.file.stem for lora in model.apart_of("transformer")]
    assert names == ["x", "x", "y", "x"]
    assert [model.strengths("transformer", stage) for stage in "abc"] == [
        ((1.0,), (0.5,), (1.0,), (0.0,)),
        ((1.0,), (0.0,), (0.0,), (0.0,)),
        ((1.0,), (1.0, 2.0), (0.0,), (1.0,)),
    ]
    # each counts where it lies: pairs of rank 4 beside weights of 192 and 544 columns and rows
    of_file = model.loras[0].unit_bytes("transformer")
    pairs = 4 * (2 * (192 + 192) + (192 + 544)) * 4 + 3 * 4 * 12
    assert of_file["blocks.2"] == pairs
    assert of_file["blocks.0"] == pairs + 192 * 4 + 8
    assert of_file[""] == len(tensors()["head.head.bias"]) * 4 + 8
    assert model.apart_bytes("transformer")["blocks.2"] == 4 * pairs
    plain = plan(folder).models["main"]
    added = model.resident_bytes("transformer") - plain.resident_bytes("transformer")
    assert added == 4 * sum(of_file.values())
    assert model.unpacking_bytes("transformer") == 192 * 544 * 4


def test_factors_beside_a_part_are_counted_in_it(folder: Path) -> None:
    outputs, inputs = tensors()["text_embedding.0.weight"].shape
    down, up = torch.ones(4, inputs), torch.ones(outputs, 4)
    path = "text_embedding.0"
    pair = {f"{path}.lora_down.weight": down, f"{path}.lora_up.weight": up}
    save_file(pair, folder / "text.safetensors")
    entry = 'loras = [{ file = "text.safetensors", merge = false }]'
    with_pair, plain = (
        plan(folder, model).models["main"].sizes["transformer"] for model in (entry, "")
    )
    added = 4 * (inputs + outputs) * 4 + 4 * 12
    assert with_pair.parts == {"text_embedding": plain.parts["text_embedding"] + added}
    assert (with_pair.units, with_pair.rest) == (plain.units, plain.rest)
    assert with_pair.bytes == plain.bytes + added


def test_the_table_of_budgets_counts_them_in_the_precision_of_its_card(folder: Path) -> None:
    """What is swapped lies in RAM with its factors, which take two bytes a number on a GPU."""
    with_loras = plan(folder, x(", merge = false"), x())
    rams = [
        table_of_budgets(made, MemorySpec(blocks_to_swap=1), [2**33])[0].ram
        for made in (with_loras, plan(folder, "", ""))
    ]
    model = with_loras.models["main"]
    in_float32 = sum(model.apart_bytes("transformer").values())
    exact = sum(
        4 * one.exact
        for lora in model.apart_of("transformer")
        for one in lora.units["transformer"].values()
    )
    assert rams[0] - rams[1] == (in_float32 - exact) // 2 + exact > 0


# -- runs -------------------------------------------------------------------------------------------------


def video(session: Session, made: Plan, **more: Any) -> np.ndarray[Any, Any]:
    return np.stack(list(read_frames(session.run(made, **more).outputs[0]))).astype(int)


def test_sets_of_stages_on_the_same_weights(folder: Path) -> None:
    """Each of three stages gives what a workflow with its files merged gives; one transformer serves them."""
    sets = {"a": x(", strength = 0.8"), "b": 'loras = [{ file = "y.safetensors" }]', "c": ""}
    with Session(plugins=PLUGINS) as session:
        alone = {name: video(session, plan(folder, files)) for name, files in sets.items()}
    assert np.abs(alone["a"] - alone["b"]).max() > 20 < np.abs(alone["a"] - alone["c"]).max()
    for written in sets:
        made = plan(folder, "", *sets.values())
        output = attrs.evolve(made.workflow.output, stage=written)
        made = attrs.evolve(made, workflow=attrs.evolve(made.workflow, output=output))
        with Session(plugins=PLUGINS) as session:
            found = video(session, made)
            resident = session._residencies["cpu"]._residents.values()
            assert len([one for one in resident if "transformer" in one.title]) == 1
        assert np.abs(found - alone[written]).max() <= 2


def test_strengths_follow_the_steps(folder: Path) -> None:
    with Session(plugins=PLUGINS) as session:
        base, full = video(session, plan(folder)), video(session, plan(folder, x()))
        off = video(session, plan(folder, x(", strength = [0, 0]")))
        constant = video(session, plan(folder, x(", strength = [1, 1]")))
        first = video(session, plan(folder, x(", strength = [1, 0]")))
        late = video(session, plan(folder, x(", strength = [0, 1]")))
    assert np.array_equal(off, base)
    assert np.abs(constant - full).max() <= 2
    for one, other in ((first, late), (first, full), (late, base), (first, base)):
        assert np.abs(one - other).max() > 10


@pytest.mark.parametrize(
    ("model", "scheme"),
    [
        ('transformer = "fp8.safetensors"', ""),
        ("quantization = {}", "fp8_e4m3fn"),
        ('quantization = { dtype = "int8" }', "int8"),
    ],
)
def test_apart_from_quantised_weights(folder: Path, model: str, scheme: str) -> None:
    """The video is that of what the codes are worth with the file merged; the codes stay as they are."""
    worth = tensors()
    source = unpacked(open_weights(folder / "fp8.safetensors"))
    for name, weight in worth.items():
        if name in source.layouts:
            packed = pack(weight.float(), scheme, by_channel=True) if scheme else None
            worth[name] = packed.dense() if packed else source.get(name)
    save_file(worth, folder / "worth.safetensors")
    loaded: list[Any] = []

    def listen(event: Event) -> None:
        held = session._residencies["cpu"]._residents.values() if session._residencies else ()
        loaded.extend(one.value for one in held if hasattr(one.value, "transformer"))

    with Session(plugins=PLUGINS) as session:
        want = video(session, plan(folder, f'{x()}\ntransformer = "worth.safetensors"'))
    with Session(plugins=PLUGINS) as session:
        got = video(session, plan(folder, f"{x(', merge = false')}\n{model}"), listen=listen)
        without = video(session, plan(folder, model))
    layers = [one for one in loaded[0].transformer.modules() if isinstance(one, LoraLinear)]
    assert len(layers) == 21 and all(isinstance(one, QuantLinear) for one in layers)
    assert np.abs(got - want).max() <= 2
    assert np.abs(got - without).max() > 20


def test_strengths_and_sets_cost_no_other_graph(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three stages have a set, strengths follow the steps, blocks are swapped."""
    torch._dynamo.reset()
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "/nowhere")
    monkeypatch.setattr(compiled, "BACKEND", lambda graph, inputs: graph)
    # x changes a norm of block 0 and the modulation of block 1, so there are three kinds of blocks
    sets = (x(", strength = [1, 0.5]"), 'loras = [{ file = "y.safetensors", blocks = "3-6" }]', "")
    model, found, notes = x(", strength = [0.2, 0.4, 0.6]"), {}, []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    for compile_it in ("false", "true"):
        torch._dynamo.utils.counters.clear()
        text = f"{model}\ncompile = {compile_it}"
        made = plan(folder, text, *sets, memory="[memory]\nblocks_to_swap = 4")
        with Session(plugins=PLUGINS) as session:
            found[compile_it] = video(session, made, listen=listen)
    assert np.abs(found["true"] - found["false"]).max() <= 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 4  # those of 3-6 hold y, too
    (told,) = [note for note in notes if "compiled in" in note]
    assert told.startswith("transformer: 4 graphs compiled in")
    assert not [note for note in notes if "failed" in note]
    torch._dynamo.reset()


# -- records ----------------------------------------------------------------------------------------------


def test_the_record_names_the_files_of_stages(folder: Path) -> None:
    made = plan(folder, "", x(", strength = [1, 0.25]"), "")
    lora = made.models["main"].stage_loras["a"][0]
    assert fingerprints(made)["stages.a.loras.0"] == lora.fingerprint
    assert places(made, {})[lora.fingerprint] == folder / "x.safetensors"
    found = record(made, PLUGINS, {})
    assert found is not None and found.workflow is not None
    assert "strength = [1.0, 0.25]" in found.workflow
    again = parse_workflow(to_toml(made.workflow), name="w", folder=folder, plugins=PLUGINS)
    assert [stage.loras for stage in again.stages] == [s.loras for s in made.workflow.stages]
