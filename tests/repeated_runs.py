"""Many runs in one process, alternating between workflows, and what lives after each of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wan_core import Session
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.workflow import parse_workflow

STAGE = """
[[stages]]
use = "generate"
name = "{name}"
prompt = "a small red circle moves {name}"
frames = 5
width = 32
height = 32
steps = 1
{more}
"""
TEXT = """
format = 1
[model]
family = "tiny-t2v"
{model}
[memory]
{memory}
[output]
path = "out.mkv"
stage = "right"
overwrite = true
"""
SETS = (
    ("left", 'loras = [{ file = "x.safetensors" }]'),
    ("right", 'loras = [{ file = "y.safetensors" }]'),
)
WORKFLOWS = (
    # sets of LoRA files on swapped blocks
    TEXT.format(model="", memory="blocks_to_swap = 5\nprefetch_blocks = 2")
    + "".join(STAGE.format(name=name, more=more) for name, more in SETS),
    # resident, quantised, one LoRA merged
    TEXT.format(
        model='quantization = { dtype = "int8" }\nloras = [{ file = "x.safetensors" }]', memory=""
    )
    + STAGE.format(name="right", more=""),
)


def write_loras(folder: Path) -> None:
    """``x`` and ``y.safetensors``: pairs for half the matrices of the tiny transformer."""
    for seed, name in enumerate("xy"):
        draw, made = torch.Generator().manual_seed(seed), {}
        for key, weight in load_file(bundled("tiny/t2v.safetensors")).items():
            if key.startswith("blocks.") and key.endswith(("attn.q.weight", "ffn.0.weight")):
                path, (rows, columns) = key.removesuffix(".weight"), weight.shape
                made[f"{path}.lora_down.weight"] = torch.randn(4, columns, generator=draw)
                made[f"{path}.lora_up.weight"] = 0.1 * torch.randn(rows, 4, generator=draw)
        save_file(made, folder / f"{name}.safetensors")


def planned(session: Session, folder: Path, text: str) -> Plan:
    """A workflow with the bundled files."""
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=session.plugins)
    return make_plan(workflow, session.plugins, device=session.device, library=Library(()))


def after_each(
    session: Session, folder: Path, runs: int, measure: Callable[[], int]
) -> Iterator[int]:
    """What ``measure`` says after each of so many runs of both workflows; every run is planned anew."""
    for number in range(2 * runs):
        result = session.run(planned(session, folder, WORKFLOWS[number % 2]))
        assert bool(result.moved) == (number % 2 == 0)
        del result
        if number % 2:
            gc.collect()
            yield measure()


def live_bytes() -> int:
    """Bytes of the storages of all tensors that live."""
    sizes: dict[int, int] = {}
    for thing in gc.get_objects():
        # what torch.compile traced in other tests has no memory
        if type(thing) in (Tensor, nn.Parameter) and not torch._is_functional_tensor(thing):
            storage = thing.untyped_storage()
            if storage.device.type != "meta":
                sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())
