"""LoRA factors beside the weights of a 14 B Wan transformer of which half the blocks are swapped.

    python benchmarks/lora_apart.py --out result.json

Random bfloat16 weights in the shape of Wan 2.1 T2V 14B, made on the device, and a random LoRA file of one
gigabyte for all linear layers of its blocks, in memory. One forward pass without the file, with it, and without
it again, of blocks as they are and of compiled ones. Printed: time, memory measured and in theory (the
factors' bytes of resident blocks, and of as many blocks as there are slots), and whether another strength
compiles anything.

Needs an NVIDIA GPU with 48 GB free and 48 GB of RAM, some four minutes of an H200, and of Python packages only
torch, attrs, einops and cattrs. ``--layers`` makes the model smaller.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch
from side_by_side import (
    DEVICE,
    GB,
    Inputs,
    add_size,
    environment,
    give_back,
    inputs,
    measured,
    options_of,
    random_model,
    refuse_failed,
    size_of,
    spread_of,
    swapping,
    wide,
    write,
)
from torch import Tensor
from torch._dynamo.utils import counters

from wan_core.contract.loras import LoraUse
from wan_core.memory import BlockSwap, compile_units, slot_count, spread
from wan_core.models.wan import WanTransformer
from wan_core.weights import StateDict
from wan_core.weights.lora import LoraFile, LoraTargets, keep_apart, read_lora
from wan_core.weights.lora.sizes import apart_bytes

MOST_ADDED, MOST_TIME = 0.10, 1.04
"""What is to be kept to: memory against the arithmetic, time against the model without the file."""


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = compare(options)
    write(result, options.out)
    return 0 if all(row["kept to"] for row in result["passes"]) else 1


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    add_size(parser, repeats=3)
    parser.add_argument("--swapped", type=int, help="blocks; half of them if not given")
    parser.add_argument("--prefetch", type=int, default=1)
    parser.add_argument("--size", type=float, default=1.0, help="of the file in GB")
    parser.add_argument("--eager", action="store_true", help="leave the compiled passes out")
    return parser.parse_args()


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    config = wide(options.layers)
    blocks = config.num_layers
    swapped = blocks // 2 if options.swapped is None else options.swapped
    model = random_model(config)
    clip = inputs(config, options.frames, options.height, options.width)
    file = random_file(model, options.size * GB)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    units = apart_bytes(file, LoraUse("random"), shapes, 2)
    names = [model.units()[i].name for i in spread(blocks, swapped)]
    slots = slot_count(len(names), options.prefetch)
    resident = sum(count for unit, count in units.items() if unit not in names)
    predicted = resident + slots * max(units.get(name, 0) for name in names)
    result: dict[str, Any] = environment() | {
        "size": size_of(options),
        "blocks": blocks,
        "swapped": swapped,
        "prefetch": options.prefetch,
        "file GB": sum(units.values()) / GB,
        "rank": file.source.shape(file.patches[0].parts["down"])[0],
        "predicted GB": predicted / GB,
    }
    print(
        f"{result['device']}, torch {result['torch']}: {swapped} of {blocks} blocks swapped, "
        f"a file of {result['file GB']:.2f} GB, rank {result['rank']}; predicted {predicted / GB:.3f} GB",
        flush=True,
    )
    swap, _ = swapping(model, names, options.prefetch)
    give_back()
    result["passes"] = []
    for compiled in (False,) if options.eager else (False, True):
        if compiled:
            compile_units(model)
        row = one_mode(model, swap, file, clip, options.repeats)
        refuse_failed(model)
        row |= {
            "compiled": compiled,
            "added of predicted": row["added GB"] * GB / predicted,
            "added to the peak of predicted": row["added to the peak GB"] * GB / predicted,
        }
        row["kept to"] = (
            abs(row["added of predicted"] - 1) <= MOST_ADDED
            and row["ratio"] <= MOST_TIME
            and not row["compiled anew"]
        )
        result["passes"].append(row)
        show(row)
    return result


def one_mode(
    model: WanTransformer, swap: BlockSwap, file: LoraFile, clip: Inputs, repeats: int
) -> dict[str, Any]:
    """Passes without the file, with it, and without it again."""
    before = swapped_passes(model, swap, clip, repeats)
    kept = keep_apart(model, [(file, LoraUse("random"))], device=DEVICE, dtype=torch.bfloat16)
    swap.settle()
    with_file = swapped_passes(model, swap, clip, repeats)
    graphs = counters["stats"]["unique_graphs"]
    outputs: list[Tensor] = []
    with swap.active():
        for strength in (1.0, 0.5, 0.0):
            kept.set_strength(0, strength)
            outputs.append(model(*clip))
    anew = counters["stats"]["unique_graphs"] - graphs
    kept.detach()
    swap.settle()
    give_back()
    after = swapped_passes(model, swap, clip, repeats)
    base = spread_of([*before["all seconds"], *after["all seconds"]])
    return {
        "without": before,
        "with": with_file,
        "without again": after,
        "ratio": with_file["seconds"] / base["seconds"],
        "added GB": with_file["held GB"] - before["held GB"],
        "added to the peak GB": with_file["peak GB"] - before["peak GB"],
        "strengths count": not torch.equal(outputs[0], outputs[1]),
        "compiled anew": anew,
    }


def swapped_passes(
    model: WanTransformer, swap: BlockSwap, clip: Inputs, repeats: int
) -> dict[str, Any]:
    """Memory is counted after the first passes, when libraries have what they keep for good."""
    with swap.active():
        return measured({"one": lambda: model(*clip)}, repeats)["one"]


def random_file(model: WanTransformer, size: float) -> LoraFile:
    """Factors of about ``size`` bytes for all linear layers of the blocks, in host memory."""
    layers = {
        name.removesuffix(".weight"): tuple(tensor.shape)
        for name, tensor in model.named_parameters()
        if name.startswith("blocks.") and name.endswith(".weight") and tensor.ndim == 2
    }
    rank = max(8, round(size / 2 / sum(map(sum, layers.values())) / 8) * 8)
    held: dict[str, Tensor] = {}
    for name, (rows, columns) in layers.items():
        held[f"{name}.lora_A.weight"] = torch.randn(rank, columns, device=DEVICE).bfloat16().cpu()
        up = 0.002 * torch.randn(rows, rank, device=DEVICE)
        held[f"{name}.lora_B.weight"] = up.bfloat16().cpu()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    return read_lora(StateDict(held), LoraTargets(shapes))


def show(row: dict[str, Any]) -> None:
    print(
        f"{'compiled' if row['compiled'] else 'eager'}: {row['without']['seconds']:.3f} s without, "
        f"{row['with']['seconds']:.3f} s with, {row['without again']['seconds']:.3f} s without again: "
        f"{row['ratio']:.3f} (at most {MOST_TIME}); added {row['added GB']:.3f} GB, "
        f"{row['added of predicted']:.3f} of the arithmetic; to the peak {row['added to the peak GB']:.3f} GB, "
        f"{row['added to the peak of predicted']:.3f}; graphs compiled for other strengths: "
        f"{row['compiled anew']}; {'kept to' if row['kept to'] else 'NOT KEPT TO'}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
