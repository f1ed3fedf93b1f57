"""Fp8 weights multiplied in fp8, beside the same transformer in bfloat16: time, memory and error.

    python benchmarks/fp8_products.py --out result.json
    python benchmarks/fp8_products.py --height 720 --width 1280 --skip-linears --skip-truth

First the three linear layers of a 14 B block alone, the rounding of their inputs included. Then one forward
pass of the whole transformer, random weights in the shape of Wan 2.1 T2V 14B, both variants alternately,
compiled block by block (``--eager`` leaves that out); attention is in bfloat16 in both. Last the error of the
velocity of a shorter clip against float32 arithmetic on the bfloat16 weights: of bfloat16, of fp8 weights that
are unpacked, and of fp8 products. Medians; TF32 is off. With everything reached the exit code is 0.

Needs an NVIDIA GPU of compute capability 8.9 or more with 60 GB free, some five minutes of an H100, and of
Python packages only torch, attrs and einops. ``--layers`` makes the model smaller.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from block_swap import inputs, random_model
from torch import Tensor, nn

from wan_core.contract.quantization import Quantization
from wan_core.kernels import quantise_rows, quantise_rows_reference
from wan_core.models.families.parts import WIDE
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.files import block_matrices
from wan_core.weights import QuantLinear
from wan_core.weights.quantised.packed import pack
from wan_core.weights.quantised.products import can_multiply, suits_fp8

Run = Callable[[], Tensor]
CUDA = torch.device("cuda")
LINEARS = ((5120, 5120), (5120, 13824), (13824, 5120))
"""Inputs and outputs of a block's layers."""
TOKENS = 32760
"""Of 81 frames at 832x480."""
SMALL_AREA = 500_000
WANTED_LINEARS, WANTED_SMALL, WANTED_LARGE = 1.6, 1.15, 1.08
"""How many times the speed of bfloat16 is asked for: of linears, and of passes at 480p and at 720p."""


def main() -> int:
    options = parse()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    if not can_multiply(CUDA):
        sys.exit("this card, or this build of torch, does not multiply 8-bit floats")
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "size": f"{options.width}x{options.height}x{options.frames}",
        "compiled": not options.eager,
    }
    print(f"{result['device']}, torch {result['torch']}", flush=True)
    reached = []
    with torch.no_grad():
        if not options.skip_linears:
            result["linears"] = linears(options.repeats)
            reached += [row["speed-up"] >= WANTED_LINEARS for row in result["linears"]]
        if not options.only_linears:
            result |= passes(options)
            small = options.width * options.height < SMALL_AREA
            reached.append(result["speed-up"] >= (WANTED_SMALL if small else WANTED_LARGE))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(reached) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=81, help="pixel frames, 4n + 1")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--layers", type=int, default=WIDE["num_layers"])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--truth-frames", type=int, default=17, help="frames of the float32 pass")
    parser.add_argument("--eager", action="store_true", help="do not compile the blocks")
    parser.add_argument("--unpacked", action="store_true", help="time unpacked fp8 weights, too")
    parser.add_argument("--skip-linears", action="store_true")
    parser.add_argument("--only-linears", action="store_true")
    parser.add_argument("--skip-truth", action="store_true")
    parser.add_argument("--out", type=Path, help="JSON")
    return parser.parse_args()


# Linear layers alone


def linears(repeats: int) -> list[dict[str, Any]]:
    print(
        f"{TOKENS} tokens        {'bf16':>9} {'fp8':>9} {'compiled':>9} {'speed-up':>8} "
        f"{'inputs':>9} {'plain':>9} {'product':>9}   error"
    )
    rows = []
    for columns, outputs in LINEARS:
        x = torch.randn(TOKENS, columns, device=CUDA).bfloat16()
        weight = torch.randn(outputs, columns, device=CUDA) * columns**-0.5
        plain = nn.Linear(columns, outputs, device=CUDA, dtype=torch.bfloat16)
        plain.weight.copy_(weight)
        layer = QuantLinear(pack(weight, "fp8_e4m3fn", by_channel=True), plain.bias)
        layer.in_fp8 = True
        compiled = torch.compile(layer, dynamic=False)
        codes, scales = quantise_rows(x)
        own = layer.payload.view(torch.float8_e4m3fn).t()
        assert layer.scale is not None
        by_output = layer.scale.view(1, -1)
        runs: dict[str, Run] = {
            "bf16": lambda plain=plain, x=x: plain(x),
            "fp8": lambda layer=layer, x=x: layer(x),
            "compiled": lambda compiled=compiled, x=x: compiled(x),
            "inputs": lambda x=x: quantise_rows(x)[0],
            "inputs, plain": lambda x=x: quantise_rows_reference(x)[0],
            "product": lambda c=codes, w=own, s=scales, t=by_output: product(c, w, s, t, True),
            "product, exact sums": lambda c=codes, w=own, s=scales, t=by_output: product(
                c, w, s, t, False
            ),
        }
        times = measured(runs, repeats)
        exact = F.linear(x.float(), weight, plain.bias.float())
        row = {
            "inputs": columns,
            "outputs": outputs,
            "milliseconds": times,
            "speed-up": times["bf16"] / min(times["fp8"], times["compiled"]),
            "error of bf16": relative(plain(x).float(), exact),
            "error of fp8": relative(layer(x).float(), exact),
            "compiled beside eager": relative(compiled(x).float(), layer(x).float()),
        }
        rows.append(row)
        print(
            f"{columns:6} -> {outputs:6}   {times['bf16']:6.3f} ms {times['fp8']:6.3f} ms "
            f"{times['compiled']:6.3f} ms {row['speed-up']:8.3f} {times['inputs']:6.3f} ms "
            f"{times['inputs, plain']:6.3f} ms {times['product']:6.3f} ms   "
            f"bf16 {row['error of bf16']:.1e}, fp8 {row['error of fp8']:.1e}",
            flush=True,
        )
        slow = times["product, exact sums"]
        print(f"{'':18} product with sums in float32 {slow:.3f} ms", flush=True)
    return rows


def product(codes: Tensor, weight: Tensor, scales: Tensor, by_output: Tensor, fast: bool) -> Tensor:
    return torch._scaled_mm(
        codes,
        weight,
        scale_a=scales,
        scale_b=by_output,
        out_dtype=torch.bfloat16,
        use_fast_accum=fast,
    )


# The whole transformer


def passes(options: argparse.Namespace) -> dict[str, Any]:
    config = attrs.evolve(WanConfig(**WIDE), num_layers=options.layers)
    model = random_model(config)
    products, unpacked = (quantised(model, in_fp8=fast) for fast in (True, False))
    share_codes(products, unpacked)
    models = {"bf16": model, "fp8 products": products}
    if options.unpacked:
        models["fp8 unpacked"] = unpacked
    result: dict[str, Any] = {
        "weights GB": {name: weight_bytes(one) / 1e9 for name, one in models.items()}
    }
    result["share of the weights"] = weight_bytes(products) / weight_bytes(model)
    if not options.skip_truth:
        result["errors"] = errors(model, products, unpacked, options)
    if not options.eager:
        for one in models.values():
            for block in one.blocks:
                block.compile()
    clip = inputs(config, options.frames, options.height, options.width)
    runs = {name: (lambda one=one: one(*clip)) for name, one in models.items()}
    result["difference"] = relative(runs["fp8 products"](), runs["bf16"]())
    result["peak GB beside the weights"] = {name: peak(run) for name, run in runs.items()}
    times, spread = {}, {}
    for name, values in all_times(runs, options.repeats).items():
        times[name], spread[name] = statistics.median(values), (min(values), max(values))
    result["milliseconds"], result["spread"] = times, spread
    result["speed-up"] = times["bf16"] / times["fp8 products"]
    show(result)
    return result


def quantised(model: WanTransformer, *, in_fp8: bool) -> WanTransformer:
    """The same with fp8 weights in its blocks; what stays is shared."""
    with torch.device("meta"):
        twin = WanTransformer(model.config).eval()
    twin.load_state_dict(model.state_dict(), assign=True)
    for name in block_matrices(model.config, Quantization()):
        place = name.removesuffix(".weight")
        plain = twin.get_submodule(place)
        packed = pack(plain.weight.float(), "fp8_e4m3fn", by_channel=True)
        layer = QuantLinear(packed, plain.bias, torch.bfloat16)
        layer.in_fp8 = in_fp8 and suits_fp8(packed)
        twin.set_submodule(place, layer)
    return twin


def share_codes(one: WanTransformer, other: WanTransformer) -> None:
    own = dict(one.named_buffers())
    for name, layer in other.named_modules():
        if isinstance(layer, QuantLinear):
            layer.payload, layer.scale = own[f"{name}.payload"], own[f"{name}.scale"]


class Exact(nn.Module):
    """A linear layer in float32 on weights in bfloat16."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weight.float(), self.bias.float())


def errors(
    model: WanTransformer,
    products: WanTransformer,
    unpacked: WanTransformer,
    options: argparse.Namespace,
) -> dict[str, float]:
    """Of the velocity of a short clip, against float32 arithmetic on the same bfloat16 weights."""
    with torch.device("meta"):
        exact = WanTransformer(model.config).eval()
    exact.load_state_dict(model.state_dict(), assign=True)
    for name, layer in list(exact.named_modules()):
        if type(layer) is nn.Linear:
            exact.set_submodule(name, Exact(layer))
    exact.patch_embedding.float()
    exact.dtype = torch.float32
    clip = inputs(model.config, options.truth_frames, options.height, options.width)
    truth = exact(*clip)
    found = {"bf16": model, "fp8 unpacked": unpacked, "fp8 products": products}
    return {name: relative(one(*clip), truth) for name, one in found.items()}


def weight_bytes(model: nn.Module) -> int:
    return sum(one.nbytes for one in (*model.parameters(), *model.buffers()))


def show(result: Mapping[str, Any]) -> None:
    how = "compiled" if result.get("compiled", True) else "eager"
    print(f"{how}, weights in fp8 are {result['share of the weights']:.1%} of those in bf16")
    for name, time in result["milliseconds"].items():
        low, high = result["spread"][name]
        print(
            f"{name:14} {time:9.1f} ms ({low:.1f} to {high:.1f}), "
            f"{result['weights GB'][name]:5.1f} GB of weights, "
            f"{result['peak GB beside the weights'][name]:5.2f} GB beside them"
        )
    print(
        f"speed-up {result['speed-up']:.3f}; velocities differ by {result['difference']:.2e} (relative norm)"
    )
    for name, error in result.get("errors", {}).items():
        print(f"error of the velocity against float32, {name:14} {error:.2e}")


# Measuring


def measured(runs: Mapping[str, Run], repeats: int) -> dict[str, float]:
    return {name: statistics.median(v) for name, v in all_times(runs, repeats).items()}


def all_times(runs: Mapping[str, Run], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each, alternately, after two passes to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            if turn >= 2:
                times[name].append(start.elapsed_time(end))
    return times


def peak(run: Run) -> float:
    """GB that a pass needs beside what is allocated before it."""
    run()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.float() - want.float()).norm() / want.float().norm())


if __name__ == "__main__":
    sys.exit(main())
