"""One forward pass of Wan 14 B here and in diffusers, in every way in which either keeps it on a card.

    python benchmarks/wan14b.py --out result.json
    python benchmarks/wan14b.py --height 720 --width 1280 --modes compiled --out result.json

The same random weights in both, bfloat16 as either project loads it. Peers are timed in turns, eager beside
eager and compiled beside compiled; medians, with the spread (largest less smallest over the median).

* ``eager``, ``compiled``: all resident. Both compile their blocks one by one, ours as a run does it.
* ``offload``, ``offload-compiled``: ours swaps all blocks but one, the next being on its way; diffusers
  offloads groups of one block with a stream. Each alone, for they would share the bus and the peak of memory.
  ``set-up seconds`` count until all that is swapped lies in pinned memory: ours from the device, theirs from
  host memory; swap_setup.py sets both up from one file.
* ``fp8``, ``fp8-compiled``: weights in 8 bits, unpacked for each product; in diffusers layerwise casting (of
  which torch.compile captures only pieces).
* ``fp8-products``, ``fp8-products-compiled``: ours multiplies in 8 bits, too, attention excepted; beside our
  bfloat16 and beside diffusers' layerwise casting, which multiplies in bfloat16.

Needs an NVIDIA GPU with 70 GB free, for the offloading modes 100 GB of RAM, and diffusers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from side_by_side import (
    DEVICE,
    GB,
    Inputs,
    add_size,
    bytes_of,
    compile_diffusers,
    diffusers_form,
    environment,
    free,
    give_back,
    inputs,
    measured,
    offload,
    options_of,
    quantise,
    random_model,
    refuse_failed,
    relative,
    size_of,
    swapping,
    timed,
    twin_of,
    wide,
    write,
)
from torch import Tensor

from wan_core.memory import compile_units, spread
from wan_core.models.wan import WanConfig, WanTransformer


@attrs.frozen
class Mode:
    """A way to keep and run the model.

    Attributes:
        fp8: blocks have weights in 8 bits.
        products: and multiply in 8 bits.
        offload: blocks lie in host memory.
        compiled: blocks are compiled.
    """

    fp8: bool = False
    products: bool = False
    offload: bool = False
    compiled: bool = False


EAGER = {
    "eager": Mode(),
    "offload": Mode(offload=True),
    "fp8": Mode(fp8=True),
    "fp8-products": Mode(fp8=True, products=True),
}
MODES = {
    name: one
    for key, mode in EAGER.items()
    for name, one in (
        (key, mode),
        ("compiled" if key == "eager" else f"{key}-compiled", attrs.evolve(mode, compiled=True)),
    )
}


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = environment() | {"size": size_of(options), "rows": options.rows, "modes": {}}
    with torch.no_grad():
        for name in options.modes:
            row = result["modes"][name] = one_mode(MODES[name], options)
            free()
            show(name, row)
            write(result, options.out)
    return 0


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    add_size(parser)
    parser.add_argument("--rows", type=int, help="tokens that our feed-forward handles at a time")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE")
    return parser.parse_args()


def one_mode(mode: Mode, options: argparse.Namespace) -> dict[str, Any]:
    """Both in one mode, from new models, so that no mode leaves anything to the next."""
    config = wide(options.layers)
    clip = inputs(config, options.frames, options.height, options.width)
    if mode.offload:
        return beside_offloading(config, clip, mode, options)
    ours = our_model(config, options)
    theirs = diffusers_form(ours, device="cpu").to(DEVICE)
    models: dict[str, Any] = {"wan_core": ours, "diffusers": theirs}
    if mode.fp8:
        theirs.enable_layerwise_casting(torch.float8_e4m3fn, torch.bfloat16)
        if mode.products:
            models["bf16"] = ours
            ours = models["wan_core"] = twin_of(ours)
        quantise(ours, in_fp8=mode.products)
        give_back()
    weights = {name: bytes_of(model) for name, model in models.items()}
    runs = {name: (lambda model=model: model(*clip)) for name, model in models.items()}
    runs["diffusers"] = lambda: theirs(*clip, return_dict=False)[0]
    if mode.compiled:
        for name in runs.keys() - {"diffusers"}:
            compile_units(models[name])
        compile_diffusers(theirs)
    row: dict[str, Any] = measured(runs, options.repeats)
    for name, count in weights.items():
        row[name]["weights GB"] = count / GB
        if name != "diffusers":
            refuse_failed(models[name])
    row |= compared(row, ours(*clip), runs["diffusers"]())
    if "bf16" in runs:
        row["speed of bf16"] = row["bf16"]["seconds"] / row["wan_core"]["seconds"]
        row["difference from bf16"] = relative(ours(*clip), runs["bf16"]())
    return row


def our_model(config: WanConfig, options: argparse.Namespace) -> WanTransformer:
    torch.manual_seed(1)
    model = random_model(config)
    model.rows = options.rows
    return model


def beside_offloading(
    config: WanConfig, clip: Inputs, mode: Mode, options: argparse.Namespace
) -> dict[str, Any]:
    row, first = swapped(our_model(config, options), clip, mode, options.repeats)
    free()
    theirs = diffusers_form(our_model(config, options), device="cpu")
    free()
    row["diffusers"], second = offloaded(theirs, clip, mode, options.repeats)
    return row | compared(row, first, second)


def swapped(
    ours: WanTransformer, clip: Inputs, mode: Mode, repeats: int
) -> tuple[dict[str, Any], Tensor]:
    """Resident, and with all blocks but one swapped; and a prediction."""
    if mode.compiled:
        compile_units(ours)
    row = measured({"resident": lambda: ours(*clip)}, repeats)
    count = len(ours.blocks)
    names = [ours.units()[i].name for i in spread(count, count - 1)]
    setup: dict[str, Any] = {}
    with timed(setup, "set-up seconds"):
        swap, sources = swapping(ours, names, 1)
    setup["pinned blocks"] = sum(source.pinned for source in sources)
    give_back()
    with swap.active():
        row |= measured({"wan_core": lambda: ours(*clip)}, repeats)
        out = ours(*clip)
    refuse_failed(ours)
    row["wan_core"] |= setup
    row["wan_core"]["beside resident"] = row["wan_core"]["seconds"] / row["resident"]["seconds"]
    return row, out


def offloaded(theirs: Any, clip: Inputs, mode: Mode, repeats: int) -> tuple[dict[str, Any], Tensor]:
    """diffusers' group offloading; and a prediction."""
    setup: dict[str, Any] = {}
    with timed(setup, "set-up seconds"):
        offload(theirs)
    if mode.compiled:
        compile_diffusers(theirs)
    row = measured({"one": lambda: theirs(*clip, return_dict=False)[0]}, repeats)["one"]
    return row | setup, theirs(*clip, return_dict=False)[0]


def compared(row: Mapping[str, Any], ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    return {
        "difference": relative(ours, theirs),
        "speed": row["diffusers"]["seconds"] / row["wan_core"]["seconds"],
    }


def show(mode: str, row: Mapping[str, Any]) -> None:
    for name in ("resident", "bf16", "wan_core", "diffusers"):
        if name in row:
            one = row[name]
            setup = f", set-up {one['set-up seconds']:.1f} s" if "set-up seconds" in one else ""
            print(
                f"{mode:21} {name:9} {one['seconds']:7.3f} s (spread {one['spread']:.1%}), peak "
                f"{one['peak GB']:6.2f} GB, work {one['work GB']:5.2f} GB{setup}",
                flush=True,
            )
    more = ""
    if "beside resident" in row["wan_core"]:
        more = f"; swapped takes {row['wan_core']['beside resident']:.3f} of the resident time"
    if "speed of bf16" in row:
        more = f"; {row['speed of bf16']:.3f} of our speed in bf16, differs from that by "
        more += f"{row['difference from bf16']:.1e}"
    print(
        f"{mode:21} wan_core runs at {row['speed']:.3f} of diffusers' speed, they differ by "
        f"{row['difference']:.1e}{more}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
