"""Runs with swapped units on a GPU: the bits of resident ones, under the memory that was predicted.

Skipped where there is no CUDA device; ``-s`` shows what was moved and hidden.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from wan_core import Session
from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Component, Family, Preset
from wan_core.contract.events import Event, TaskProgress
from wan_core.contract.placement import Placement
from wan_core.engine.results import RunResult
from wan_core.hookspecs import hookimpl
from wan_core.memory import BlockSwap, CudaCopier, HostRoom, MappedSource
from wan_core.models.families import TINY_T2V
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.planning import Library, Plan, make_plan
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.workflow import parse_workflow

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

WAN_CORE_CONTRACT = CONTRACT_VERSION
LAYERS = 8
CONFIG = WanConfig(
    dim=1536, ffn_dim=8960, num_heads=12, num_layers=LAYERS, text_dim=128, text_len=64
)
BLOCKS = tuple(f"blocks.{i}" for i in range(LAYERS))
FAMILY = Family(
    name="some-layers",
    title="",
    task="text-to-video",
    components={
        "transformer": Component(
            kind="wan-transformer",
            load="wan_core.models.loaders:load_transformer",
            config={"num_heads": 12, "text_len": 64},
            lora_targets="wan_core.models.wan.files:lora_targets",
            quantises="wan_core.models.wan.files:quantised_layers",
        ),
        "text_encoder": TINY_T2V.components["text_encoder"],
        "vae": TINY_T2V.components["vae"],
    },
    preset=Preset(width=416, height=240, frames=17, fps=16, steps=3, shift=3.0, guidance=4.0),
)
TEXT = """
format = 1
[model]
family = "some-layers"
transformer = "transformer.safetensors"
{model}
[[stages]]
use = "generate"
prompt = "a red circle moves"
negative_prompt = "blur"
{more}
[output]
path = "frames/%03d.png"
overwrite = true
"""


@hookimpl
def wan_register() -> Sequence[Family]:
    return [FAMILY]


PLUGINS = Plugins(
    [
        next(iter(installed_entry_points())),
        Found("some", "some", "1", lambda: sys.modules[__name__]),
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the shape of Wan 1.3B, and a LoRA for them."""
    folder = tmp_path_factory.mktemp("swapped")
    torch.manual_seed(0)
    transformer = WanTransformer(CONFIG)
    held = {}
    for name, parameter in transformer.state_dict().items():
        fan_in = max(1, parameter[0].numel()) if parameter.ndim > 1 else 25
        held[name] = (torch.randn(parameter.shape) * fan_in**-0.5).bfloat16()
    save_file(held, folder / "transformer.safetensors")
    factors = {}
    for name, weight in held.items():
        if name.endswith("attn.q.weight"):
            path = f"diffusion_model.{name.removesuffix('.weight')}"
            factors[f"{path}.lora_A.weight"] = torch.randn(8, weight.shape[1])
            factors[f"{path}.lora_B.weight"] = 0.01 * torch.randn(weight.shape[0], 8)
    save_file(factors, folder / "lora.safetensors")
    return folder


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(plugins=PLUGINS, device="cuda", cache=tmp_path) as session:
        yield session


def planned(folder: Path, placement: Placement | None, model: str = "", more: str = "") -> Plan:
    workflow = parse_workflow(
        TEXT.format(model=model, more=more), name="w.toml", folder=folder, plugins=PLUGINS
    )
    plan = make_plan(workflow, PLUGINS, device="cuda", library=Library(()))
    placements = {"transformer": placement} if placement else {}
    return attrs.evolve(
        plan, models={n: attrs.evolve(m, placements=placements) for n, m in plan.models.items()}
    )


def frames(result: RunResult) -> np.ndarray:
    pictures = sorted(result.outputs[0].parent.glob("*.png"))
    return np.stack([np.asarray(Image.open(picture)) for picture in pictures])


def residents(session: Session) -> list[Any]:
    (residency,) = (one for device, one in session._residencies.items() if device != "cpu")
    return list(residency._residents.values())


@pytest.mark.parametrize(
    "model",
    ["", 'loras = [{ file = "lora.safetensors" }]', 'quantization = { dtype = "fp8_e4m3fn" }'],
    ids=["plain", "merged", "fp8"],
)
def test_bits_and_peak(session: Session, folder: Path, model: str) -> None:
    want = frames(session.run(planned(folder, None, model)))
    session.close()
    for names, prefetch in ((BLOCKS, 1), (BLOCKS[1:], 0), (BLOCKS[::3], 2)):
        plan = planned(folder, Placement(swapped=names, prefetch=prefetch), model)
        there: list[int] = []

        def listen(event: Event, there: list[int] = there) -> None:
            if isinstance(event, TaskProgress) and event.task == "sampling":
                there.extend(o.bytes for o in residents(session) if "transformer" in o.title)

        result = session.run(plan, listen=listen)
        assert np.array_equal(frames(result), want)
        headroom = plan.headroom("generate", plan.models["main"], "transformer")
        decoding = max(phase.peak for phase in plan.phases if phase.slot == "vae")
        others = sum(one.bytes for one in residents(session))
        predicted = max(there[0] + headroom, decoding) + others
        assert result.peak_vram is not None
        print(
            f"\n{len(names)} swapped, prefetch {prefetch}: peak {result.peak_vram / 1e6:.0f} MB, "
            f"predicted {predicted / 1e6:.0f} MB, moved "
            f"{result.moved / 1e9:.2f} GB, hidden {result.hidden:.0%}"
        )
        assert result.peak_vram <= predicted
        assert result.hidden is not None
        assert 0 <= result.hidden <= 1
        assert torch.cuda.memory_allocated() < others + 100_000_000


def model() -> WanTransformer:
    torch.manual_seed(0)
    config = attrs.evolve(CONFIG, dim=1024, ffn_dim=4096, num_heads=8)
    transformer = WanTransformer(config).bfloat16().eval().requires_grad_(False)
    for parameter in transformer.parameters():
        parameter.normal_(std=0.02)
    return transformer


@pytest.mark.parametrize(
    "room", [None, 100_000_000, 0], ids=["pinned", "some in files", "in files"]
)
@torch.no_grad()
def test_sources_and_changes(room: int | None, tmp_path: Path) -> None:
    transformer = model()
    generator = torch.Generator("cuda").manual_seed(0)
    given = (
        torch.randn(1, 16, 5, 30, 52, device="cuda", generator=generator),
        torch.tensor([500.0], device="cuda"),
        torch.randn(1, 16, 128, device="cuda", generator=generator).bfloat16(),
    )
    host = HostRoom(room, folder=tmp_path)
    swap = BlockSwap(transformer, BLOCKS, 1, CudaCopier(), provider=host, from_host=True)
    kinds = [isinstance(unit.source, MappedSource) for unit in swap._units]
    assert any(kinds) == (room is not None)
    assert all(kinds) == (room == 0)
    assert all(
        getattr(unit.source, "pinned", False) != kind
        for unit, kind in zip(swap._units, kinds, strict=True)
    )
    outs = []
    with swap.active():
        for names, prefetch in ((BLOCKS, 1), ((), 0), (BLOCKS[2:5], 2), (BLOCKS, 0), (BLOCKS, 9)):
            swap.change(names, prefetch)
            outs.append(transformer(*given))
            assert torch.cuda.memory_allocated() >= swap.device_bytes
    assert all(torch.equal(out, outs[0]) for out in outs)
    assert swap.traffic.copying > 0
    assert all(not p.is_cuda for p in transformer.parameters())
