"""One forward pass of Wan 14 B here and in diffusers, in every way in which either keeps it on a card.

    python benchmarks/wan14b.py --out result.json
    python benchmarks/wan14b.py --height 720 --width 1280 --modes compiled --out result.json

The same random weights in both, bfloat16 as either project loads it. Peers are timed in turns, eager beside
eager and compiled beside compiled; medians, with the spread (largest less smallest over the median).

* ``eager``, ``compiled``: all resident. Ours compiles its units, diffusers its repeated blocks.
* ``offload``, ``offload-compiled``: ours swaps all blocks but one, the next being on its way; diffusers
  offloads groups of one block with a stream. Each alone, for they would share the bus and the peak of memory.
* ``fp8``, ``fp8-compiled``: weights in 8 bits, unpacked for each product; in diffusers layerwise casting.

Needs an NVIDIA GPU with 70 GB free, for the offloading modes 100 GB of RAM, and diffusers.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from side_by_side import (
    GB,
    Inputs,
    diffusers_form,
    environment,
    inputs,
    measured,
    random_model,
    relative,
)
from torch import Tensor

from wan_core.memory import BlockSwap, CudaCopier, spread
from wan_core.models.families.parts import WIDE
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.weights.quantised.linear import QuantLinear
from wan_core.weights.quantised.packed import pack

MODES = ("eager", "compiled", "offload", "offload-compiled", "fp8", "fp8-compiled")


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = environment()
    result["size"] = f"{options.width}x{options.height}x{options.frames}"
    result["modes"] = {}
    with torch.no_grad():
        for mode in options.modes:
            row = result["modes"][mode] = one_mode(mode, options)
            free()
            show(mode, row)
            if options.out:
                options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=81, help="pixel frames, 4n + 1")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--layers", type=int, default=WIDE["num_layers"])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--out", type=Path, help="JSON")
    return parser.parse_args()


def one_mode(mode: str, options: argparse.Namespace) -> dict[str, Any]:
    """Both in one mode, from new models, so that no mode leaves anything to the next."""
    kind, _, rest = mode.partition("-")
    compiled = kind == "compiled" or bool(rest)
    config = attrs.evolve(WanConfig(**WIDE), num_layers=options.layers)
    clip = inputs(config, options.frames, options.height, options.width)
    if kind == "offload":
        return beside_offloading(config, clip, compiled, options.repeats)
    ours, theirs = both(config)
    if kind == "fp8":
        theirs.enable_layerwise_casting(torch.float8_e4m3fn, torch.bfloat16)
        quantise(ours)
    weights = {"wan_core": bytes_of(ours), "diffusers": bytes_of(theirs)}
    if compiled:
        compile_units(ours)
        theirs.compile_repeated_blocks()
    runs = {
        "wan_core": lambda: ours(*clip),
        "diffusers": lambda: theirs(*clip, return_dict=False)[0],
    }
    row: dict[str, Any] = measured(runs, options.repeats)
    for name, count in weights.items():
        row[name]["weights GB"] = count / GB
    return row | compared(row, *(run() for run in runs.values()))


def both(config: WanConfig) -> tuple[WanTransformer, Any]:
    """The same weights in both forms, each with memory of its own."""
    torch.manual_seed(1)
    ours = random_model(config)
    return ours, diffusers_form(ours, device="cpu").cuda()


def beside_offloading(
    config: WanConfig, clip: Inputs, compiled: bool, repeats: int
) -> dict[str, Any]:
    torch.manual_seed(1)
    row, first = swapped(random_model(config), clip, compiled, repeats)
    free()
    torch.manual_seed(1)
    theirs = diffusers_form(random_model(config), device="cpu")
    free()
    row["diffusers"], second = offloaded(theirs, clip, compiled, repeats)
    return row | compared(row, first, second)


def swapped(
    ours: WanTransformer, clip: Inputs, compiled: bool, repeats: int
) -> tuple[dict[str, Any], Tensor]:
    """Resident, and with all blocks but one swapped; and a prediction."""
    if compiled:
        compile_units(ours)
    row = measured({"resident": lambda: ours(*clip)}, repeats)
    count = len(ours.blocks)
    names = [ours.units()[i].name for i in spread(count, count - 1)]
    swap, seconds = timed(lambda: BlockSwap(ours, names, 1, CudaCopier()))
    torch.cuda.empty_cache()
    with swap.active():
        row |= measured({"wan_core": lambda: ours(*clip)}, repeats)
        out = ours(*clip)
    row["wan_core"]["set-up seconds"] = seconds
    row["wan_core"]["beside resident"] = row["wan_core"]["seconds"] / row["resident"]["seconds"]
    return row, out


def offloaded(
    theirs: Any, clip: Inputs, compiled: bool, repeats: int
) -> tuple[dict[str, Any], Tensor]:
    """diffusers' group offloading; and a prediction."""

    def offload() -> None:
        theirs.enable_group_offload(
            torch.device("cuda"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=True,
        )

    _, seconds = timed(offload)
    if compiled:
        theirs.compile_repeated_blocks()
    row = measured({"one": lambda: theirs(*clip, return_dict=False)[0]}, repeats)["one"]
    row["set-up seconds"] = seconds
    return row, theirs(*clip, return_dict=False)[0]


def compared(row: Mapping[str, Any], ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    return {
        "difference": relative(ours, theirs),
        "speed": row["diffusers"]["seconds"] / row["wan_core"]["seconds"],
    }


def compile_units(model: WanTransformer) -> None:
    for unit in model.units():
        unit.module.compile()


def quantise(model: WanTransformer) -> None:
    """The matrices of the blocks to 8 bits, a scale for each output channel."""
    for unit in model.units():
        for path, linear in list(unit.module.named_modules()):
            if isinstance(linear, torch.nn.Linear):
                parent, _, name = path.rpartition(".")
                packed = pack(linear.weight.float(), "fp8_e4m3fn", by_channel=True)
                layer = QuantLinear(packed, linear.bias.data, torch.bfloat16)
                setattr(unit.module.get_submodule(parent), name, layer)


def bytes_of(model: torch.nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    made = make()
    torch.cuda.synchronize()
    return made, time.perf_counter() - start


def free() -> None:
    gc.collect()
    torch._dynamo.reset()
    torch.cuda.empty_cache()


def show(mode: str, row: Mapping[str, Any]) -> None:
    for name in ("resident", "wan_core", "diffusers"):
        if name in row:
            one = row[name]
            setup = f", set-up {one['set-up seconds']:.1f} s" if "set-up seconds" in one else ""
            print(
                f"{mode:17} {name:9} {one['seconds']:7.3f} s (spread {one['spread']:.1%}), peak "
                f"{one['peak GB']:6.2f} GB, work {one['work GB']:5.2f} GB{setup}",
                flush=True,
            )
    beside = row["wan_core"].get("beside resident")
    swapped = f"; swapped takes {beside:.3f} of the resident time" if beside else ""
    print(
        f"{mode:17} wan_core runs at {row['speed']:.3f} of diffusers' speed, they differ by "
        f"{row['difference']:.1e}{swapped}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
