"""One forward pass of a 14 B Wan transformer, resident and with 39 of its 40 blocks swapped.

    python benchmarks/block_swap.py --out result.json

Random bfloat16 weights in the shape of Wan 2.1 T2V 14B, made on the device. Swapped blocks lie in pinned host
memory. Printed: time against the resident model (measured before and after the swapped passes), how much of the
copying is hidden behind computing, memory measured and predicted, the copies' speed, and whether all bits are
equal. A second, shorter clip shows the harder case, where a block computes hardly longer than it is copied.

Needs an NVIDIA GPU with 48 GB free and 32 GB of RAM, some three minutes of an H200, and of Python packages only
torch, attrs, einops and cattrs. ``--layers`` makes the model smaller.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from side_by_side import (
    DEVICE,
    GB,
    add_size,
    allocated,
    bytes_of,
    copier,
    environment,
    give_back,
    inputs,
    measured,
    options_of,
    random_model,
    refuse_failed,
    spread_of,
    swapping,
    synchronize,
    timed,
    wide,
    write,
)
from torch import Tensor

from wan_core.memory import (
    Copier,
    HostSource,
    compile_units,
    packed_bytes,
    spread,
    swap_bytes,
    tensors_of,
)
from wan_core.memory.pinning import Pages


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = compare(options)
    write(result, options.out)
    return 0 if all(row["bits equal"] for row in result["passes"]) else 1


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    add_size(parser, frames=(81, 17), repeats=2)
    parser.add_argument("--swapped", type=int, help="blocks; all but one if not given")
    parser.add_argument("--prefetch", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--pageable", action="store_true", help="do not pin the host's memory")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--rows", type=int, help="tokens that a feed-forward handles at a time")
    return parser.parse_args()


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    config = wide(options.layers)
    blocks = config.num_layers
    count = blocks - 1 if options.swapped is None else options.swapped
    indices = spread(blocks, count)
    result: dict[str, Any] = environment() | {
        "size": f"{options.width}x{options.height}",
        "blocks": blocks,
        "swapped": count,
        "compiled": options.compile,
        "rows": options.rows,
    }
    with timed(result, "init seconds"):
        model = random_model(config)
    model.rows = options.rows
    if options.compile:
        compile_units(model)
    clips = {
        frames: inputs(config, frames, options.height, options.width) for frames in options.frames
    }
    sizes = [packed_bytes(t.nbytes for t in tensors_of(u.module).values()) for u in model.units()]
    result["weights GB"] = bytes_of(model) / GB
    rest = sum(tensor.nbytes for tensor in model.rest().values())

    wanted: dict[int, Tensor] = {}
    resident: dict[int, dict[str, Any]] = {}
    for frames, clip in clips.items():
        wanted[frames] = model(*clip)
        resident[frames] = measured({"one": lambda clip=clip: model(*clip)}, options.repeats)["one"]

    beside = allocated() / GB - result["weights GB"]
    names = [model.units()[i].name for i in indices]
    copies = copier()
    with timed(result, "to host seconds"), pinning_timed(result):
        share = 0 if options.pageable else 1 << 62
        swap, sources = swapping(model, names, 0, copies, share=share)
    result["pinned blocks"] = sum(source.pinned for source in sources)
    give_back()
    result["swapped GB"] = sum(source.packing.bytes for source in sources) / GB
    result["copy GB/s"] = copy_speed(copies, sources)
    show_start(result)

    rows = []
    for prefetch in options.prefetch:
        swap.prefetch = prefetch
        for frames, clip in clips.items():
            with swap.active():
                weights = allocated() / GB - beside
                equal = torch.equal(model(*clip), wanted[frames])
                row = measured({"one": lambda clip=clip: model(*clip)}, options.repeats)["one"]
                equal = equal and torch.equal(model(*clip), wanted[frames])
            row |= {
                "frames": frames,
                "prefetch": prefetch,
                "bits equal": equal,
                "weights on the device GB": weights,
                "predicted GB": (rest + swap_bytes(sizes, indices, prefetch)) / GB,
            }
            rows.append(row)
    model.to(DEVICE)
    for frames, clip in clips.items():
        again = measured({"one": lambda clip=clip: model(*clip)}, options.repeats)["one"]
        resident[frames] |= spread_of(resident[frames]["all seconds"] + again["all seconds"])
    refuse_failed(model)
    copying = result["swapped GB"] / result["copy GB/s"]
    for row in rows:
        base = resident[row["frames"]]["seconds"]
        row["ratio"] = row["seconds"] / base
        row["hidden"] = 1 - max(0.0, row["seconds"] - base) / copying if copying else 1.0
    result["resident"] = resident
    result["passes"] = rows
    show(result)
    return result


def copy_speed(copies: Copier, sources: Sequence[HostSource]) -> float:
    """GB/s when nothing is computed."""
    if not sources:
        return float("inf")
    buffer = copies.allocate(max(source.packing.bytes for source in sources))
    after = copies.mark()
    copies.finish()
    synchronize()
    start = time.perf_counter()
    for source in sources:
        source.send(lambda host: copies.fill(buffer, host, after))
    copies.finish()
    return sum(source.packing.bytes for source in sources) / GB / (time.perf_counter() - start)


@contextmanager
def pinning_timed(result: dict[str, Any]) -> Iterator[None]:
    """What pinning takes, of all its threads together."""
    pin, result["pinning seconds"] = Pages.pin, 0.0

    def timed_pin(pages: Pages) -> bool:
        start = time.perf_counter()
        done = pin(pages)
        result["pinning seconds"] += time.perf_counter() - start
        return done

    Pages.pin = timed_pin  # type: ignore[method-assign]
    yield
    Pages.pin = pin  # type: ignore[method-assign]


def show_start(result: dict[str, Any]) -> None:
    print(
        f"{result['device']}, torch {result['torch']}: {result['blocks']} blocks, "
        f"{result['weights GB']:.1f} GB, made in {result['init seconds']:.1f} s\n"
        f"{result['swapped']} blocks, {result['swapped GB']:.1f} GB, in host memory after "
        f"{result['to host seconds']:.1f} s, beside {result['pinning seconds']:.1f} s of pinning in "
        f"threads ({result['pinned blocks']} pinned); copied back at {result['copy GB/s']:.1f} GB/s",
        flush=True,
    )


def show(result: dict[str, Any]) -> None:
    print(
        f"{'frames':>6} {'prefetch':>8} {'seconds':>8} {'ratio':>6} {'hidden':>7} {'peak GB':>8} "
        f"{'weights GB':>10} {'predicted':>9} {'bits'}"
    )
    for frames, row in result["resident"].items():
        print(f"{frames:6} {'resident':>8} {row['seconds']:8.3f} {'':14} {row['peak GB']:8.2f}")
        for one in (one for one in result["passes"] if one["frames"] == frames):
            print(
                f"{'':6} {one['prefetch']:8} {one['seconds']:8.3f} {one['ratio']:6.3f} "
                f"{one['hidden']:7.1%} {one['peak GB']:8.2f} "
                f"{one['weights on the device GB']:10.2f} {one['predicted GB']:9.2f} "
                f"{'equal' if one['bits equal'] else 'DIFFERENT'}"
            )


if __name__ == "__main__":
    sys.exit(main())
