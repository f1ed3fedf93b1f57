"""The probes' own transformers from files: LoRA, quantisation and swap for saying what blocks there are.

What each way gives is compared with a run on plain weights that are worth the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.seams.longcat.plugin import EXACT
from wan_core import Session
from wan_core.contract import Component, LoadRequest, Quantization, Stack
from wan_core.contract.errors import Cancelled, PluginError, WanCoreError
from wan_core.contract.events import Event, Note, TaskProgress
from wan_core.contract.lazy import resolve
from wan_core.engine import keep
from wan_core.engine.results import RunResult
from wan_core.media import read_frames
from wan_core.memory import ALIGNMENT, compiled, packed_bytes, stack_of, tensors_of
from wan_core.models import load_stack
from wan_core.planning import Library, Plan, make_plan
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.testing import check_stack
from wan_core.weights import QuantLinear
from wan_core.weights.described import quantised_layers, stored_stack
from wan_core.weights.files import open_weights
from wan_core.weights.lora import LoraLinear
from wan_core.weights.quantised.packed import pack
from wan_core.workflow import parse_workflow

PROMPT = 'prompt = "a red circle moves"\nnegative_prompt = "blur"\nsteps = 3'
TEXT = """
format = 1
output = {{ path = "out.mkv", overwrite = true }}
[models.small]
family = "tiny-random"
[models.main]
family = "{family}"
{model}
[memory]
{memory}
[[stages]]
use = "generate"
model = "small"
name = "first"
prompt = "a red circle moves"
width = 32
height = 32
frames = 21
[[stages]]
use = "{use}"
model = "main"
{more}
"""


@attrs.frozen
class Probe:
    """A probe with its transformer from a file.

    Attributes:
        plugin: its folder.
        family, drawn: with the transformer from a file, and with the same weights drawn.
        layers: ends of names, as the file has them, of layers that a LoRA changes.
        adapted: how many that are in the blocks.
    """

    plugin: str
    family: str
    drawn: str
    use: str
    more: str
    layers: tuple[str, ...]
    adapted: int

    def text(self, model: str, memory: str = "", more: str = "", family: str = "") -> str:
        return TEXT.format(
            family=family or self.family,
            use=self.use,
            model=model,
            memory=memory,
            more=f"{self.more}\n{more}",
        )


OVI = Probe(
    "ovi",
    "ovi-stored",
    "ovi-probe",
    "ovi-probe-generate",
    PROMPT,
    ("self_attn.v.weight", "cross_attn.k_fusion.weight", "ffn.0.weight"),
    18,
)
LONGCAT = Probe(
    "longcat",
    "longcat-stored",
    "longcat-random",
    "longcat-segments",
    f"{PROMPT}\nsegments = 2",
    ("attn.qkv.weight", "cross_attn.proj.weight", "ffn.w2.weight"),
    9,
)
FLASHVSR = Probe(
    "flashvsr",
    "upscale-probe-stored",
    "upscale-probe-random",
    "upscale-probe",
    'video = "first.video"\nsparse_ratio = 0.05',
    ("self_attn.v.weight", "cross_attn.o.weight", "ffn.0.weight"),
    6,
)
PROBES = [pytest.param(one, id=one.plugin) for one in (OVI, LONGCAT, FLASHVSR)]
IN_STEPS = [pytest.param(one, id=one.plugin) for one in (OVI, LONGCAT)]
probes = pytest.mark.parametrize("probe", PROBES)
DTYPES = ("fp8_e4m3fn", "int8", "int4")


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    found = [
        Found(name, name, "0", lambda name=name: import_module(f"tests.seams.{name}.plugin"))
        for name in ("ovi", "longcat", "flashvsr")
    ]
    plugins = Plugins([next(iter(installed_entry_points())), *found])
    assert not plugins.problems
    return plugins


def drawn(plugins: Plugins, probe: Probe) -> nn.Module:
    """The transformer with the weights that its probe draws."""
    part = plugins.family(probe.drawn).components["transformer"]
    request = LoadRequest("transformer", part, None, torch.device("cpu"), torch.float32)
    stack = stack_of(resolve(part.load)(request))
    assert isinstance(stack, nn.Module)
    return stack


def published(plugins: Plugins, probe: Probe) -> Callable[[str], str]:
    """How its files call a tensor."""
    part = plugins.family(probe.family).components["transformer"]
    for dialect in plugins.dialects_of(part.kind):
        return lambda name: dialect.from_official(name) or name
    return lambda name: name


def factors(weights: Mapping[str, Tensor], layers: tuple[str, ...]) -> dict[str, Tensor]:
    """Pairs of rank 2 for layers of the blocks."""
    draw = torch.Generator().manual_seed(3)
    made = {}
    for name, weight in sorted(weights.items()):
        if "blocks." in name and name.endswith(layers):
            path = name.removesuffix(".weight")
            rows, columns = weight.shape
            made[f"{path}.lora_A.weight"] = torch.randn(2, columns, generator=draw) / columns**0.5
            made[f"{path}.lora_B.weight"] = torch.randn(rows, 2, generator=draw)
    return made


@pytest.fixture(scope="module")
def folder(plugins: Plugins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each probe the weights, a LoRA, and what both are worth together and in codes."""
    made = tmp_path_factory.mktemp("stored")
    for probe in (OVI, LONGCAT, FLASHVSR):
        called = published(plugins, probe)
        plain = {called(name): t.clone() for name, t in drawn(plugins, probe).state_dict().items()}
        name = probe.plugin
        save_file(plain, made / f"{name}.safetensors")
        pairs = factors(plain, probe.layers)
        save_file(pairs, made / f"{name}-lora.safetensors")
        together = dict(plain)
        for key, up in pairs.items():
            if key.endswith("lora_B.weight"):
                path = key.removesuffix(".lora_B.weight")
                together[f"{path}.weight"] = (
                    plain[f"{path}.weight"] + up @ pairs[f"{path}.lora_A.weight"]
                )
        save_file(together, made / f"{name}-together.safetensors")
        component = plugins.family(probe.family).components["transformer"]
        source = open_weights(made / f"{name}.safetensors")
        dialects = plugins.dialects_of(component.kind)
        for dtype in DTYPES:
            asked = Quantization(dtype=dtype)
            worth = {
                called(one): pack(plain[called(one)], dtype, by_channel=True).dense()
                for one in quantised_layers(component, source, asked, dialects)
            }
            save_file({**plain, **worth}, made / f"{name}-{dtype}-worth.safetensors")
        stored = {}
        worth = {}
        for one in quantised_layers(component, source, Quantization(), dialects):
            weight = plain[called(one)]
            scale = weight.abs().max() / 448
            codes = (weight / scale).to(torch.float8_e4m3fn)
            stored[called(one)] = codes
            stored[called(one).replace(".weight", ".scale_weight")] = scale
            worth[called(one)] = codes.float() * scale
        save_file({**plain, **stored}, made / f"{name}-fp8.safetensors")
        save_file({**plain, **worth}, made / f"{name}-fp8-worth.safetensors")
    return made


@pytest.fixture
def session(plugins: Plugins, tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=plugins, device="cpu", cache=tmp_path / "cache") as session:
        yield session


def planned(plugins: Plugins, folder: Path, text: str) -> Plan:
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=plugins)
    return make_plan(workflow, plugins, device="cpu", library=Library(()))


@attrs.frozen
class Runs:
    """Runs of one probe in one session, and what they made."""

    session: Session
    plugins: Plugins
    folder: Path
    probe: Probe

    def plan(self, model: str, **more: str) -> Plan:
        return planned(self.plugins, self.folder, self.probe.text(model, **more))

    def result(self, model: str, **more: str) -> RunResult:
        return self.session.run(self.plan(model, **more))

    def frames(self, model: str, **more: str) -> np.ndarray:
        path = self.result(model, **more).outputs[0]
        return np.stack(list(read_frames(path))).astype(int)

    def transformer(self) -> nn.Module:
        """What the last run used."""
        host = self.session._host.residency._residents.values()
        held = [one.value.value for one in host if self.probe.family in one.title]
        there = self.session._residencies["cpu"]._residents.values()
        held += [one.value for one in there if f"{self.probe.family} transformer" in one.title]
        stack = stack_of(held[-1])
        assert isinstance(stack, nn.Module)
        return stack

    def file(self, kind: str = "") -> str:
        return f'transformer = "{self.probe.plugin}{kind}.safetensors"'

    def lora(self, entry: str = "") -> str:
        return f'loras = [{{ file = "{self.probe.plugin}-lora.safetensors"{entry} }}]'


@pytest.fixture
def runs(session: Session, plugins: Plugins, folder: Path, probe: Probe) -> Runs:
    return Runs(session, plugins, folder, probe)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding: sums of products differ in their last bit with where weights begin in memory, and
    the sparse attention of one probe may then choose other tokens."""
    difference = np.abs(one - other)
    return bool(difference.mean() < 0.02)


def check_codes(runs: Runs, worth: Mapping[str, Tensor], scheme: str) -> None:
    """All matrices that can be are codes that are worth what they should be, to the bit."""
    called = published(runs.plugins, runs.probe)
    layers = {n: m for n, m in runs.transformer().named_modules() if isinstance(m, QuantLinear)}
    asked = Quantization(dtype=scheme)
    component = runs.plugins.family(runs.probe.family).components["transformer"]
    source = open_weights(runs.folder / f"{runs.probe.plugin}.safetensors")
    dialects = runs.plugins.dialects_of(component.kind)
    wanted = quantised_layers(component, source, asked, dialects)
    assert {f"{name}.weight" for name in layers} == set(wanted) != set()
    for name, layer in layers.items():
        assert layer.scheme == scheme
        assert torch.equal(layer.dequantised(torch.float32), worth[called(f"{name}.weight")])


@probes
def test_a_file_gives_what_the_same_weights_give(runs: Runs) -> None:
    want = runs.frames("", family=runs.probe.drawn)
    assert alike(runs.frames(runs.file()), want)
    assert np.ptp(want) > 50
    own = runs.transformer().state_dict()
    weights = drawn(runs.plugins, runs.probe).state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], weights[name]) for name in own)


@probes
def test_loras_merged_and_apart(runs: Runs) -> None:
    without = runs.frames(runs.file())
    want = runs.frames(runs.file("-together"))
    assert not alike(want, without)
    merged = runs.frames(f"{runs.file()}\n{runs.lora()}")
    assert not [one for one in runs.transformer().modules() if isinstance(one, LoraLinear)]
    apart = runs.frames(f"{runs.file()}\n{runs.lora(', merge = false')}")
    adapted = [one for one in runs.transformer().modules() if isinstance(one, LoraLinear)]
    assert len(adapted) == runs.probe.adapted
    assert alike(merged, want)
    assert alike(apart, want)


@pytest.mark.parametrize("probe", IN_STEPS)
def test_strengths_follow_the_steps(runs: Runs) -> None:
    def lora(strengths: str) -> str:
        return f"{runs.file()}\n{runs.lora(f', strength = {strengths}')}"

    without, full = runs.frames(runs.file()), runs.frames(runs.file("-together"))
    assert np.array_equal(runs.frames(lora("[0, 0]")), without)
    assert alike(runs.frames(lora("[1, 1]")), full)
    first, late = runs.frames(lora("[1, 0]")), runs.frames(lora("[0, 1]"))
    for one, other in ((first, late), (first, full), (late, without), (first, without)):
        assert np.abs(one - other).max() > 3


@probes
def test_a_set_of_a_stage(runs: Runs) -> None:
    found = runs.frames(runs.file(), more=runs.lora())
    assert alike(found, runs.frames(runs.file("-together")))


@probes
@pytest.mark.parametrize("dtype", DTYPES)
def test_quantised_while_it_is_loaded(runs: Runs, dtype: str) -> None:
    found = runs.frames(f'{runs.file()}\nquantization = {{ dtype = "{dtype}" }}')
    worth = load_file(runs.folder / f"{runs.probe.plugin}-{dtype}-worth.safetensors")
    check_codes(runs, worth, dtype)
    assert alike(found, runs.frames(runs.file(f"-{dtype}-worth")))
    assert not alike(found, runs.frames(runs.file()))


@probes
def test_a_quantised_file(runs: Runs) -> None:
    found = runs.frames(runs.file("-fp8"))
    worth = load_file(runs.folder / f"{runs.probe.plugin}-fp8-worth.safetensors")
    check_codes(runs, worth, "fp8_e4m3fn")
    assert alike(found, runs.frames(runs.file("-fp8-worth")))


@probes
def test_all_together(runs: Runs) -> None:
    """Swapped by plan, a LoRA beside codes: the bits of the resident run."""
    model = f"{runs.file()}\nquantization = {{}}\n{runs.lora(', merge = false')}"
    want = runs.frames(model)
    result = runs.result(model, memory="blocks_to_swap = 2\nprefetch_blocks = 1")
    assert np.array_equal(np.stack(list(read_frames(result.outputs[0]))), want)
    assert result.moved > 0
    both = [one for one in runs.transformer().modules() if isinstance(one, LoraLinear)]
    assert len(both) == runs.probe.adapted
    assert all(isinstance(one, QuantLinear) for one in both)


@pytest.mark.parametrize("probe", IN_STEPS)
def test_all_together_cut_short(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that is new after every step: strengths by step, codes, swap."""
    monkeypatch.setattr(keep, "SHARE", float("inf"))
    model = f"{runs.file()}\nquantization = {{}}\n"
    model += runs.lora(", merge = false, strength = [1.0, 0.0, 0.5]")
    plan = runs.plan(model, memory="blocks_to_swap = 2\nprefetch_blocks = 1")
    whole = np.stack(list(read_frames(runs.session.run(plan).outputs[0])))
    plain = runs.plan(model.replace("0.5]", "1.0]"), memory="blocks_to_swap = 2")
    assert not np.array_equal(
        np.stack(list(read_frames(runs.session.run(plain).outputs[0]))), whole
    )
    begun = stops = 0

    def stop(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task.startswith("sampling"):
            raise KeyboardInterrupt

    while True:
        with Session(plugins=runs.plugins, device="cpu", cache=runs.session.cache) as fresh:
            try:
                result = fresh.run(plan, listen=stop, resume=begun > 0)
                break
            except Cancelled:
                stops += 1
        begun += 1
        assert stops < 20
    assert stops >= 3
    assert np.array_equal(np.stack(list(read_frames(result.outputs[0]))), whole)


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Graphs are made, and run as they are."""
    torch._dynamo.reset()
    for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        monkeypatch.setenv(variable, "/nowhere")
    monkeypatch.setattr(compiled, "BACKEND", lambda graph, inputs: graph)
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("probe", [LONGCAT], ids=["longcat"])
@pytest.mark.usefixtures("compiles")
def test_all_together_compiled(runs: Runs) -> None:
    model = f"{runs.file()}\nquantization = {{}}\n{runs.lora(', merge = false')}"
    want = runs.frames(model)
    notes: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append(event.text)

    plan = runs.plan(f"{model}\ncompile = true", memory="blocks_to_swap = 2")
    result = runs.session.run(plan, listen=listen)
    assert alike(np.stack(list(read_frames(result.outputs[0]))).astype(int), want)
    assert result.moved > 0
    assert sum("compiled in" in note for note in notes) == 1
    assert not [note for note in notes if "failed" in note]


@probes
def test_what_is_said_of_the_file_is_true_of_the_model(
    plugins: Plugins, folder: Path, probe: Probe
) -> None:
    component = plugins.family(probe.family).components["transformer"]
    file = folder / f"{probe.plugin}.safetensors"
    check_stack(component, file, dialects=plugins.dialects_of(component.kind))


@pytest.mark.parametrize(
    ("stack", "problem"),
    [
        (Stack(), r"quantised layers in float32 as fp8.* said blocks.0.adaLN_modulation.1.weight"),
        (Stack(("blocks.0.ffn", "blocks")), None),
        (Stack(("blocks",), parts=("x_embedder",)), "parts in float32: .* x_embedder"),
    ],
)
def test_what_is_said_wrongly_is_found(
    plugins: Plugins, folder: Path, stack: Stack, problem: str | None
) -> None:
    part = plugins.family("longcat-stored").components["transformer"]
    part = attrs.evolve(part, stack=stack)
    if problem is None:  # a list that the file has not is no unit
        part = attrs.evolve(part, stack=attrs.evolve(stack, keep_float32=EXACT))
        check_stack(part, folder / "longcat.safetensors")
        return
    with pytest.raises(AssertionError, match=problem):
        check_stack(part, folder / "longcat.safetensors")


@probes
def test_factors_are_counted_in_their_units(runs: Runs) -> None:
    model = f"{runs.file()}\n{runs.lora(', merge = false')}"
    plan = runs.plan(model, memory="blocks_to_swap = 1")
    sizes = plan.models["main"].sizes["transformer"].units
    runs.session.run(plan)
    for unit in runs.transformer().units():  # type: ignore[operator]
        tensors = tensors_of(unit.module)
        size = packed_bytes([t.nbytes for t in tensors.values()])
        # without what fills up their places
        spare = ALIGNMENT * sum("lora" in name for name in tensors)
        assert spare > 0 and size - spare <= sizes[unit.name] <= size


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("quantization = { keep = ['blok.*'] }", 'keep names "blok.*", which no layer is called'),
        (
            'loras = [{ file = "longcat-lora.safetensors" }]',
            "changes a transformer of width 32, that of family ovi-stored has 24",
        ),
    ],
)
@pytest.mark.parametrize("probe", [OVI], ids=["ovi"])
def test_slips_are_told_before_weights_are_loaded(runs: Runs, model: str, sentence: str) -> None:
    with pytest.raises(WanCoreError) as caught:
        runs.plan(f"{runs.file()}\n{model}")
    assert sentence in str(caught.value)


def test_a_file_without_blocks_is_refused(tmp_path: Path) -> None:
    save_file({"layers.0.weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    component = Component("strange", "x:load", stack=Stack())
    source = open_weights(tmp_path / "x.safetensors")
    with pytest.raises(WanCoreError, match=r"the file has no block blocks\.0"):
        stored_stack(component, source, ())


def test_a_component_that_does_not_say_its_blocks_is_refused(folder: Path) -> None:
    component = Component("longcat-transformer", "x:load")
    request = LoadRequest(
        "transformer",
        component,
        folder / "longcat.safetensors",
        torch.device("cpu"),
        torch.float32,
    )
    with pytest.raises(PluginError, match="does not say which"):
        load_stack(request, lambda source: nn.Module())


@pytest.mark.parametrize("probe", [LONGCAT], ids=["longcat"])
def test_in_half_precision_what_is_exact_stays_exact(runs: Runs) -> None:
    runs.result(f'{runs.file()}\nprecision = "bfloat16"')
    own = runs.transformer().state_dict()
    kept = load_file(runs.folder / "longcat.safetensors")
    exact = {name for name, tensor in own.items() if tensor.dtype == torch.float32}
    assert {"blocks.0.adaLN_modulation.1.weight", "t_embedder.mlp.0.weight"} <= exact
    assert "blocks.0.attn.qkv.weight" not in exact
    assert all(torch.equal(own[name], kept[name]) for name in exact)
