"""How long it takes until a 14 B Wan transformer in a file is ready to be swapped, beside a read of the file.

    python benchmarks/swap_setup.py --out result.json

Writes a file of random bfloat16 weights in the shape of Wan 2.1 T2V 14B (28 GB, removed afterwards), has it in
the page cache, reads it once in a single thread, and sets block swap up as a run does: tensors go from the
mapped file into packed host memory, which is pinned; what stays goes to the device. Printed: seconds of each
part, and the whole in units of the single-threaded read. The first of the repeats also finds memory that the
system had not given to anybody before, which costs more in virtual machines.

Needs 70 GB of RAM; without an NVIDIA GPU nothing is pinned. ``--layers`` makes the model smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch

from wan_core.contract import Component, LoadRequest, Placement
from wan_core.memory import (
    BlockSwap,
    Copier,
    CudaCopier,
    HostRoom,
    Keeper,
    SimulatedCopier,
    stack_of,
)
from wan_core.models.families.parts import WIDE
from wan_core.models.loaders import load_transformer
from wan_core.models.wan import WanConfig, WanTransformer

GB = 1e9
BLOCK = 16 << 20


def main() -> int:
    options = parse()
    config = attrs.evolve(WanConfig(**WIDE), num_layers=options.layers)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "transformer.safetensors"
        write_random(file, config)
        result = measured(file, config, options)
    show(result)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=WIDE["num_layers"])
    parser.add_argument("--swapped", type=int, help="blocks; all but one if not given")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the file is written")
    parser.add_argument("--out", type=Path, help="JSON")
    return parser.parse_args()


def write_random(path: Path, config: WanConfig) -> None:
    """A safetensors file in official names, a tensor at a time; the same random numbers over and over."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in WanTransformer(config).state_dict().items()}
    header: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        size = shape.numel() * 2
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = memoryview(torch.randn(BLOCK // 2).mul_(0.02).bfloat16().view(torch.uint8).numpy())
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, end, BLOCK):
            file.write(numbers[: min(BLOCK, end - start)])


def measured(file: Path, config: WanConfig, options: argparse.Namespace) -> dict[str, Any]:
    has_gpu = torch.cuda.is_available()
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if has_gpu else "CPU",
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "file GB": file.stat().st_size / GB,
        "runs": [],
    }
    if has_gpu:
        torch.zeros(1, device="cuda")  # the context is no part of it
    read_once(file)
    for _ in range(options.repeats):
        run: dict[str, Any] = {}
        with timed(run, "read seconds"):
            read_once(file)
        set_up(file, config, options.swapped, run)
        run["of a read"] = run["whole seconds"] / run["read seconds"]
        result["runs"].append(run)
    for key in ("read seconds", "whole seconds", "of a read"):
        result[key] = statistics.median(run[key] for run in result["runs"])
    return result


def read_once(file: Path) -> None:
    """In one thread, into memory that is there already."""
    block = bytearray(BLOCK)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(block):
            pass


def set_up(file: Path, config: WanConfig, swapped: int | None, run: dict[str, Any]) -> None:
    """What a run does until its first step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = config.num_layers - 1 if swapped is None else swapped
    names = tuple(
        f"blocks.{index}" for index in range(config.num_layers - count, config.num_layers)
    )
    component = Component("wan-transformer", "x:y", config={"num_heads": config.num_heads})
    with timed(run, "whole seconds"):
        keeper = Keeper(names, device, HostRoom(share=1 << 62))
        request = LoadRequest(
            "transformer",
            component,
            file,
            torch.device("cpu"),
            torch.bfloat16,
            placement=Placement(swapped=names),
            keep=keeper,
        )
        with timed(run, "loading seconds"):
            stack = stack_of(load_transformer(request))
        assert stack is not None
        copier: Copier = CudaCopier(device) if device.type == "cuda" else SimulatedCopier()
        with timed(run, "pinning that was waited for, seconds"):
            swap = BlockSwap(stack, names, 1, copier, provider=keeper, from_host=True)
            sources = [unit.source for unit in swap._units]
            run["pinned blocks"] = sum(bool(getattr(one, "pinned", False)) for one in sources)
        with timed(run, "to the device seconds"):
            swap.open()
            if device.type == "cuda":
                torch.cuda.synchronize()
    run["swapped GB"] = sum(source.packing.bytes for source in sources) / GB
    with timed(run, "given back seconds"):
        swap.close()
        del swap, stack, sources, keeper, request


@contextmanager
def timed(result: dict[str, Any], key: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    result[key] = time.perf_counter() - start


def show(result: dict[str, Any]) -> None:
    print(
        f"{result['device']}, torch {result['torch']}, {result['cores']} cores: a file of "
        f"{result['file GB']:.1f} GB is read in {result['read seconds']:.2f} s, set up in "
        f"{result['whole seconds']:.2f} s, {result['of a read']:.2f} times as long"
    )
    for run in result["runs"]:
        print("  " + ", ".join(f"{key} {value:.2f}" for key, value in run.items()))


if __name__ == "__main__":
    sys.exit(main())
