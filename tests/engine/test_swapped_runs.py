"""Runs with swapped units: the bits of a resident run, in the memory that was promised, whatever happens."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_core import Session
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import ResourceError
from wan_core.contract.events import Event, Note, RunFinished, TaskProgress, TaskStarted
from wan_core.contract.placement import Placement
from wan_core.engine import components as engine_components
from wan_core.engine import swapping
from wan_core.engine.components import ModelComponents
from wan_core.engine.results import RunResult
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.memory import (
    BlockSwap,
    Keeper,
    SimulatedCopier,
    WithParts,
    copies,
    packed_bytes,
    tensors_of,
)
from wan_core.memory.mapped import are_mapped
from wan_core.models.families import TINY_T2V
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "middle.png"
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
steps = {steps}
{more}
[output]
path = "out.mkv"
overwrite = true
"""
BLOCKS = tuple(f"blocks.{i}" for i in range(7))
LAYERS = tuple(f"encoder.block.{i}" for i in range(4))
CLIP = tuple(f"encoder.layers.{i}" for i in range(1))
Placements = Mapping[str, Placement]


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


def planned(
    folder: Path,
    placements: Placements | None = None,
    family: str = "tiny-t2v",
    model: str = "",
    more: str = "",
    steps: int = 3,
) -> Plan:
    text = TEXT.format(family=family, model=model, more=more, steps=steps)
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    plan = make_plan(workflow, PLUGINS, device="cpu", library=Library(()))
    main = attrs.evolve(plan.models["main"], placements=placements or {})
    return attrs.evolve(plan, models={"main": main})


def frames(result: RunResult) -> np.ndarray:
    return np.concatenate(list(read_frames(result.outputs[0])))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=PLUGINS, cache=tmp_path / "cache") as session:
        yield session


@pytest.fixture(autouse=True)
def no_kept_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run encodes its texts anew."""
    monkeypatch.setattr("wan_core.engine.text._key", lambda model, prompt: None)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., np.ndarray]:
    """The frames of a run without placements; made once for each workflow."""
    made: dict[tuple[Any, ...], np.ndarray] = {}

    def resident(folder: Path, **more: str) -> np.ndarray:
        key = tuple(sorted(more.items()))
        if key not in made:
            cache = tmp_path_factory.mktemp("cache")
            with Session(plugins=PLUGINS, cache=cache) as session:
                made[key] = frames(session.run(planned(folder, **more)))
        return made[key]

    return resident


def swapped(*names: str, prefetch: int = 1) -> Placement:
    return Placement(swapped=names, prefetch=prefetch)


WAYS = {
    "all": {"transformer": swapped(*BLOCKS)},
    "one at a time": {"transformer": swapped(*BLOCKS, prefetch=0)},
    "some, far ahead": {"transformer": swapped("blocks.1", "blocks.3", "blocks.6", prefetch=4)},
    "the first": {"transformer": swapped("blocks.0", prefetch=2)},
    "with the text embedding": {"transformer": swapped("text_embedding", *BLOCKS[2:])},
    "only the text embedding": {"transformer": swapped("text_embedding")},
    "text encoder": {"text_encoder": swapped(*LAYERS, "shared")},
    "only its table": {"text_encoder": swapped("shared")},
    "all models": {
        "text_encoder": swapped(*LAYERS[1:], "shared", prefetch=2),
        "transformer": swapped(*BLOCKS),
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_bits_of_every_way_are_those_of_a_resident_run(
    session: Session, tmp_path: Path, resident: Callable[..., np.ndarray], way: str
) -> None:
    result = session.run(planned(tmp_path, WAYS[way]))
    assert np.array_equal(frames(result), resident(tmp_path))


def test_pictures(session: Session, tmp_path: Path, resident: Callable[..., np.ndarray]) -> None:
    asked = {"family": "tiny-i2v", "more": f'image = "{PICTURE}"'}
    layers = swapped("img_emb", "text_embedding", *(f"blocks.{i}" for i in range(6)))
    placements = {"transformer": layers, "image_encoder": swapped(*CLIP)}
    got = frames(session.run(planned(tmp_path, placements, **asked)))
    assert np.array_equal(got, resident(tmp_path, **asked))


def fp8_file(folder: Path) -> str:
    held = load_file(bundled("tiny/t2v.safetensors"))
    kind = torch.float8_e4m3fn
    matrices = {n for n, t in held.items() if n.startswith("blocks.") and t.ndim == 2}
    save_file(
        {n: t.to(kind) if n in matrices else t for n, t in held.items()}, folder / "8.safetensors"
    )
    return 'transformer = "8.safetensors"'


def lora_file(folder: Path) -> str:
    generator = torch.Generator().manual_seed(0)
    made = {}
    for name, weight in load_file(bundled("tiny/t2v.safetensors")).items():
        if name.endswith(("attn.q.weight", "ffn.0.weight", "text_embedding.0.weight")):
            rows, columns = weight.shape
            path = f"diffusion_model.{name.removesuffix('.weight')}"
            made[f"{path}.lora_A.weight"] = torch.randn(4, columns, generator=generator)
            made[f"{path}.lora_B.weight"] = 0.05 * torch.randn(rows, 4, generator=generator)
    save_file(made, folder / "l.safetensors")
    return 'loras = [{ file = "l.safetensors" }]'


@pytest.mark.parametrize(
    "make", [fp8_file, lora_file, lambda _: 'quantization = { dtype = "int8" }']
)
def test_weights_that_are_made_when_they_are_read(
    session: Session,
    tmp_path: Path,
    resident: Callable[..., np.ndarray],
    make: Callable[[Path], str],
) -> None:
    model = make(tmp_path)
    placements = {"transformer": swapped("text_embedding", *BLOCKS)}
    result = session.run(planned(tmp_path, placements, model=model))
    want = resident(tmp_path, model=model)
    assert np.array_equal(frames(result), want)
    assert not np.array_equal(want, resident(tmp_path))


class Watched(SimulatedCopier):
    """Counts the bytes of all slots of all components together."""

    all: ClassVar[list[Watched]] = []
    highest = 0

    def __init__(self) -> None:
        super().__init__(lambda coming: 1)
        self.all.append(self)

    def allocate(self, size: int) -> torch.Tensor:
        buffer = super().allocate(size)
        Watched.highest = max(Watched.highest, sum(one.now for one in self.all))
        return buffer


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr(swapping, "_copier", lambda device: Watched())
    monkeypatch.setattr(Watched, "all", [])
    monkeypatch.setattr(Watched, "highest", 0)
    return Watched


@pytest.fixture
def swaps(monkeypatch: pytest.MonkeyPatch) -> list[BlockSwap]:
    """Every block swap that the engine makes."""
    made: list[BlockSwap] = []

    class Noted(BlockSwap):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    monkeypatch.setattr(swapping, "BlockSwap", Noted)
    return made


def test_two_experts_share_the_room_of_one(
    session: Session,
    tmp_path: Path,
    resident: Callable[..., np.ndarray],
    watched: type[Watched],
    swaps: list[BlockSwap],
) -> None:
    placements = {f"transformer.{one}": swapped(*BLOCKS) for one in ("high", "low")}
    started: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskStarted):
            started.append(event.task)

    plan = planned(tmp_path, placements, family="two")
    assert np.array_equal(
        frames(session.run(plan, listen=listen)), resident(tmp_path, family="two")
    )
    assert len(watched.all) == 2
    assert watched.highest == 2 * swaps[0].slot_bytes
    assert sum(one.now for one in watched.all) == 0
    # both are in host memory still: a second run loads nothing
    assert sum("loading transformer" in one for one in started) == 2
    session.run(plan, listen=listen)
    assert sum("loading transformer" in one for one in started) == 2


def test_what_is_counted(
    session: Session, tmp_path: Path, swaps: list[BlockSwap], monkeypatch: pytest.MonkeyPatch
) -> None:
    """3 steps of 2 branches: every pass brings all blocks, and the last one sends for the first again."""
    clock = itertools.count()
    # every look at the clock is a second later, so that each copy takes as long, however busy the machine
    monkeypatch.setattr(copies, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    events: list[Event] = []
    plan = planned(tmp_path, {"transformer": swapped(*BLOCKS)})
    result = session.run(plan, listen=events.append)
    (swap,) = swaps
    block = swap.slot_bytes
    assert result.moved == (3 * 2 * 7 + 1) * block
    assert result.hidden == pytest.approx(1, abs=0.1)  # all but the first
    finished = events[-1]
    assert isinstance(finished, RunFinished)
    assert (finished.moved, finished.hidden) == (result.moved, result.hidden)
    assert finished.predicted_peak == plan.peak
    result = session.run(planned(tmp_path, {"transformer": swapped(*BLOCKS, prefetch=0)}))
    assert result.moved == 3 * 2 * 7 * block
    assert result.hidden == 0
    assert session.run(planned(tmp_path)).hidden is None
    assert len(swaps) == 1


def test_residency_knows_what_is_where(
    session: Session, tmp_path: Path, swaps: list[BlockSwap]
) -> None:
    plan = planned(tmp_path, {"transformer": swapped(*BLOCKS[1:])})
    seen: dict[str, int] = {}

    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling":
            residents = session._residencies["cpu"]._residents
            seen.update({one.title: one.bytes for one in residents.values()})

    session.run(plan, listen=listen)
    title = "tiny-t2v transformer"
    (swap,) = swaps
    assert seen[title] == swap.device_bytes
    weights = plan.models["main"].weight_bytes("transformer")
    # two blocks of seven, and the rest
    assert weights * 2 / 7 < swap.device_bytes - swap.slot_bytes < weights * 4 / 7
    host = session._host.residency
    assert {one.title: one.bytes for one in host._residents.values()} == {title: weights}
    assert title not in {one.title for one in session._residencies["cpu"]._residents.values()}


@pytest.mark.parametrize("away", [BLOCKS, BLOCKS[:3]], ids=["all", "three"])
@pytest.mark.parametrize("model", ["", 'quantization = { dtype = "int8" }', "precision", "lora"])
def test_units_beyond_the_share_of_host_memory_lie_in_files(
    session: Session,
    tmp_path: Path,
    resident: Callable[..., np.ndarray],
    swaps: list[BlockSwap],
    monkeypatch: pytest.MonkeyPatch,
    away: Sequence[str],
    model: str,
) -> None:
    """What stays on the device and what copies go through count, too: all of it is within the share."""
    if model == "precision":  # every weight is made when it is read
        save_file(
            {n: t.half() for n, t in load_file(bundled("tiny/t2v.safetensors")).items()},
            tmp_path / "16.safetensors",
        )
        model = 'transformer = "16.safetensors"'
    elif model == "lora":  # the loader hands nothing over, for what lies beside comes later
        model = lora_file(tmp_path).replace(" }", ", merge = false }")
        model += '\nquantization = { dtype = "int8" }'
    asked = session._residencies_for
    plan = planned(tmp_path, {"transformer": swapped(*away)}, model=model)
    sizes = plan.models["main"].sizes["transformer"]
    share = sizes.bytes * 3 // 4
    outside = sizes.bytes - sum(sizes.movable.values())

    def small(plan: Plan) -> Any:
        found = asked(plan)
        session._host.residency.budget = share
        return found

    assert np.array_equal(frames(session.run(plan)), resident(tmp_path, model=model))
    monkeypatch.setattr(session, "_residencies_for", small)
    assert np.array_equal(frames(session.run(plan)), resident(tmp_path, model=model))
    (_, swap) = swaps  # it was loaded anew
    assert session._host.residency.bytes == share
    units = {unit.name: unit for unit in WithParts(swap._stack).units()}
    assert units.keys() == sizes.movable.keys()
    in_memory = {
        name
        for name, unit in units.items()
        if not are_mapped(list(tensors_of(unit.module).values()))
    }
    assert in_memory
    assert in_memory < units.keys()
    staging = session._host._room.staging.bytes
    assert sum(sizes.movable[name] for name in in_memory) + outside + staging <= share
    assert staging in (0, 2 * swap.slot_bytes)
    assert not any((tmp_path / "cache").glob("tmp*"))


def test_a_run_that_fails_leaves_nothing_on_the_device(
    session: Session,
    tmp_path: Path,
    resident: Callable[..., np.ndarray],
    watched: type[Watched],
    swaps: list[BlockSwap],
) -> None:
    def fail(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling":
            raise RuntimeError("boom")

    plan = planned(tmp_path, {"transformer": swapped(*BLOCKS), "text_encoder": swapped(*LAYERS)})
    with pytest.raises(RuntimeError, match="boom"):
        session.run(plan, listen=fail)
    assert not any(swap.is_active for swap in swaps)
    assert sum(one.now for one in watched.all) == 0
    assert {one.users for one in session._host.residency._residents.values()} == {0}
    assert np.array_equal(frames(session.run(plan)), resident(tmp_path))


def test_other_units_between_steps(
    session: Session,
    tmp_path: Path,
    resident: Callable[..., np.ndarray],
    swaps: list[BlockSwap],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a recovery does: more is swapped after the first step, and less after the second."""
    held: list[ModelComponents] = []

    class Noted(ModelComponents):
        def get(self, slot: str) -> Any:
            if slot == "transformer":
                held.append(self)
            return super().get(slot)

    monkeypatch.setattr("wan_core.engine.run.ModelComponents", Noted)
    ways: list[Sequence[str]] = [BLOCKS, BLOCKS[3:5], ()]
    bytes_there = []

    def listen(event: Event) -> None:
        if isinstance(event, TaskProgress) and event.task == "sampling":
            way = ways.pop(0)
            held[-1].place("transformer", swapped(*way, prefetch=len(way) % 3))
            residents = session._residencies["cpu"]._residents
            (one,) = (r for r in residents.values() if "transformer" in r.title)
            bytes_there.append(one.bytes)
            assert one.bytes == swaps[0].device_bytes

    plan = planned(tmp_path, {"transformer": swapped(*BLOCKS[:3])})
    result = session.run(plan, listen=listen)
    assert np.array_equal(frames(result), resident(tmp_path))
    assert bytes_there == sorted(bytes_there)
    assert not ways


def test_units_may_be_given_other_tensors_while_they_are_in_use(
    session: Session,
    tmp_path: Path,
    swaps: list[BlockSwap],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = planned(tmp_path, {"transformer": swapped(*BLOCKS)})
    grown: list[int] = []

    class Attaching(ModelComponents):
        def get(self, slot: str) -> Any:
            component = super().get(slot)
            if slot == "transformer" and not grown:
                grown.append(swaps[0].device_bytes)
                with self.changing("transformer"):
                    assert not swaps[0].is_active
                    more = torch.nn.Linear(100, 100, bias=False).requires_grad_(False)
                    component.transformer.blocks[2].add_module("more", more)
                residents = session._residencies["cpu"]._residents.values()
                grown.extend(one.bytes for one in residents if "transformer" in one.title)
            with self.changing("vae"):
                return component

    monkeypatch.setattr("wan_core.engine.run.ModelComponents", Attaching)
    session.run(plan)
    assert grown[1] - grown[0] == 2 * packed_bytes([40_000])


def test_one_unit_at_a_time_is_in_memory_twice(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are read as float16 and used as float32: each unit is let go before the next one is read."""
    before: list[weakref.ref[Any]] = []
    kept: list[str] = []
    keep = Keeper.keep

    def noting(self: Keeper, name: str, module: torch.nn.Module) -> None:
        kept.append(name)
        gc.collect()
        assert not any(one() for one in before)
        before[:] = [weakref.ref(t.data.untyped_storage()) for t in module.parameters()]
        assert all(one() for one in before)
        places = {tensor.data_ptr() for tensor in module.parameters()}
        keep(self, name, module)
        assert not places & {tensor.data_ptr() for tensor in module.parameters()}

    monkeypatch.setattr(Keeper, "keep", noting)
    placements = {"transformer": swapped(*BLOCKS), "text_encoder": swapped(*LAYERS, "shared")}
    session.run(planned(tmp_path, placements))
    assert kept == [*LAYERS, *BLOCKS]


def test_uses_of_units_are_told_when_asked_for(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    ledger = engine_components.Ledger

    def each_unit(*args: Any, **more: Any) -> Any:
        return ledger(*args, each_unit=True)

    monkeypatch.setattr("wan_core.engine.session.Ledger", each_unit)

    def listen(event: Event) -> None:
        if isinstance(event, Note) and event.text.startswith("blocks."):
            notes.append(event.text)

    session.run(planned(tmp_path, {"transformer": swapped(*BLOCKS)}), listen=listen)
    assert [note.partition(":")[0] for note in notes] == list(BLOCKS) * 6
    assert all("copied in" in n and "waited" in n and "computed" in n for n in notes)


def test_a_component_without_units_is_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"tiny-t2v vae is not made of units"):
        session.run(planned(tmp_path, {"vae": swapped("decoder")}))


def test_a_component_on_the_cpu(
    session: Session, tmp_path: Path, resident: Callable[..., np.ndarray]
) -> None:
    placements = {slot: Placement(device="cpu") for slot in ("text_encoder", "vae")}
    result = session.run(planned(tmp_path, placements))
    assert np.array_equal(frames(result), resident(tmp_path))
