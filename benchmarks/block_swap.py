"""One forward pass of a 14 B Wan transformer, resident and with 39 of its 40 blocks swapped.

    python benchmarks/block_swap.py --out result.json

Random bfloat16 weights in the shape of Wan 2.1 T2V 14B, made on the device. Swapped blocks lie in pinned host
memory. Printed: time against the resident model (measured before and after the swapped passes), how much of the
copying is hidden behind computing, memory measured and predicted, the copies' speed, and whether all bits are
equal. A second, shorter clip shows the harder case, where a block computes hardly longer than it is copied.

Needs an NVIDIA GPU with 48 GB free and 32 GB of RAM, some three minutes of an H200, and of Python packages only
torch, attrs and einops. ``--layers`` makes the model smaller.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from wan_core.memory import (
    BlockSwap,
    CudaCopier,
    HostMemory,
    HostSource,
    packed_bytes,
    spread,
    swap_bytes,
    tensors_of,
)
from wan_core.memory.pinning import Pages
from wan_core.models.families.parts import WIDE
from wan_core.models.wan import WanConfig, WanTransformer

GB = 1e9
Inputs = tuple[Tensor, Tensor, Tensor]


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = compare(options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["bits equal"] for row in result["passes"]) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[81, 17], help="pixel frames")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--layers", type=int, default=WIDE["num_layers"])
    parser.add_argument("--swapped", type=int, help="blocks; all but one if not given")
    parser.add_argument("--prefetch", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--pageable", action="store_true", help="do not pin the host's memory")
    parser.add_argument("--compile", action="store_true", help="compile the blocks")
    parser.add_argument("--rows", type=int, help="tokens that a feed-forward handles at a time")
    parser.add_argument("--out", type=Path, help="JSON")
    return parser.parse_args()


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    config = attrs.evolve(WanConfig(**WIDE), num_layers=options.layers)
    count = options.layers - 1 if options.swapped is None else options.swapped
    indices = spread(options.layers, count)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "size": f"{options.width}x{options.height}",
        "blocks": options.layers,
        "swapped": count,
        "compiled": options.compile,
        "rows": options.rows,
    }
    with timed(result, "init seconds"):
        model = random_model(config)
    model.rows = options.rows or model.rows
    if options.compile:
        for block in model.blocks:
            block.compile()
    clips = {
        frames: inputs(config, frames, options.height, options.width) for frames in options.frames
    }
    sizes = [packed_bytes(t.nbytes for t in tensors_of(u.module).values()) for u in model.units()]
    result["weights GB"] = sum(p.nbytes for p in model.parameters()) / GB
    rest = sum(tensor.nbytes for tensor in model.rest().values())

    wanted: dict[int, Tensor] = {}
    resident: dict[int, dict[str, Any]] = {}
    for frames, clip in clips.items():
        wanted[frames] = model(*clip)
        resident[frames] = measured(lambda clip=clip: model(*clip), options.repeats)

    beside = torch.cuda.memory_allocated() / GB - result["weights GB"]
    sources: list[HostSource] = []
    memory = HostMemory(0 if options.pageable else 1 << 62)

    def provider(name: str, tensors: Sequence[Tensor]) -> HostSource:
        sources.append(memory(name, tensors))
        return sources[-1]

    names = [model.units()[i].name for i in indices]
    copier = CudaCopier()
    with timed(result, "to host seconds"), pinning_timed(result):
        swap = BlockSwap(model, names, 0, copier, provider=provider)
        result["pinned blocks"] = sum(source.pinned for source in sources)
    torch.cuda.empty_cache()
    result["swapped GB"] = sum(source.packing.bytes for source in sources) / GB
    result["copy GB/s"] = copy_speed(copier, sources)
    show_start(result)

    rows = []
    for prefetch in options.prefetch:
        swap.prefetch = prefetch
        for frames, clip in clips.items():
            with swap.active():
                weights = torch.cuda.memory_allocated() / GB - beside
                equal = torch.equal(model(*clip), wanted[frames])
                row = measured(lambda clip=clip: model(*clip), options.repeats)
                equal = equal and torch.equal(model(*clip), wanted[frames])
            row |= {
                "frames": frames,
                "prefetch": prefetch,
                "bits equal": equal,
                "weights on the device GB": weights,
                "predicted GB": (rest + swap_bytes(sizes, indices, prefetch)) / GB,
            }
            rows.append(row)
    model.cuda()
    for frames, clip in clips.items():
        again = measured(lambda clip=clip: model(*clip), options.repeats)
        resident[frames]["all seconds"] += again["all seconds"]
        resident[frames]["seconds"] = statistics.median(resident[frames]["all seconds"])
    copying = result["swapped GB"] / result["copy GB/s"]
    for row in rows:
        base = resident[row["frames"]]["seconds"]
        row["ratio"] = row["seconds"] / base
        row["hidden"] = 1 - max(0.0, row["seconds"] - base) / copying
    result["resident"] = resident
    result["passes"] = rows
    show(result)
    return result


def random_model(config: WanConfig) -> WanTransformer:
    """The transformer on the device, in bfloat16 but for what is kept in float32."""
    with torch.device("meta"):
        model = WanTransformer(config).eval()
    for name, parameter in model.named_parameters():
        if not any(fnmatchcase(name, pattern) for pattern in WanTransformer.KEEP_FLOAT32):
            parameter.data = parameter.data.to(torch.bfloat16)
    model.to_empty(device="cuda")
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
            parameter.fill_(1)
        else:
            parameter.normal_(std=0.02)
    return model


def inputs(config: WanConfig, frames: int, height: int, width: int) -> Inputs:
    shape = (1, config.in_dim, (frames - 1) // 4 + 1, height // 8, width // 8)
    text = torch.randn(1, config.text_len, config.text_dim, device="cuda").bfloat16()
    return torch.randn(shape, device="cuda"), torch.tensor([723.0], device="cuda"), text


def measured(run: Callable[[], Tensor], repeats: int) -> dict[str, Any]:
    """Median seconds of passes that follow each other, and the highest memory."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / GB
    return {"seconds": statistics.median(times), "all seconds": times, "peak GB": peak}


def copy_speed(copier: CudaCopier, sources: Sequence[HostSource]) -> float:
    """GB/s when nothing is computed."""
    if not sources:
        return float("inf")
    buffer = copier.allocate(max(source.packing.bytes for source in sources))
    after = copier.mark()
    copier.finish()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for source in sources:
        source.send(lambda host: copier.fill(buffer, host, after))
    copier.finish()
    return sum(source.packing.bytes for source in sources) / GB / (time.perf_counter() - start)


@contextmanager
def timed(result: dict[str, Any], key: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    torch.cuda.synchronize()
    result[key] = time.perf_counter() - start


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
        f"{result['swapped']} blocks, {result['swapped GB']:.1f} GB, to host memory in "
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
