"""Fp8 weights multiplied in fp8, beside the same transformer in bfloat16: time, memory and error.

    python benchmarks/fp8_products.py --out result.json
    python benchmarks/fp8_products.py --height 720 --width 1280 --skip-linears --skip-truth

First the linear layers of a 14 B block alone, the rounding of their inputs included. Then one forward
pass of the whole transformer, random weights in the shape of Wan 2.1 T2V 14B, both variants alternately,
compiled block by block (``--eager`` leaves that out); attention is in bfloat16 in both. Last the error of the
velocity of a shorter clip against float32 arithmetic on the bfloat16 weights: of bfloat16, of fp8 weights that
are unpacked, and of fp8 products. Medians; TF32 is off. With everything reached the exit code is 0.

Needs an NVIDIA GPU of compute capability 8.9 or more with 60 GB free, some five minutes of an H100, and of
Python packages only torch, attrs, einops and cattrs. ``--layers`` makes the model smaller.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from results import LAYERS, linears_together
from side_by_side import (
    GB,
    Run,
    add_size,
    bytes_of,
    environment,
    inputs,
    measured,
    options_of,
    quantise,
    random_model,
    refuse_failed,
    relative,
    size_of,
    twin_of,
    wide,
    write,
)
from torch import Tensor, nn

from wan_core.kernels import quantise_rows, quantise_rows_reference
from wan_core.memory import compile_units
from wan_core.models.wan import WanTransformer
from wan_core.weights import QuantLinear
from wan_core.weights.quantised.packed import pack
from wan_core.weights.quantised.products import can_multiply

CUDA = torch.device("cuda")
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
    result = environment() | {"size": size_of(options), "compiled": not options.eager}
    print(f"{result['device']}, torch {result['torch']}", flush=True)
    reached = []
    with torch.no_grad():
        if not options.skip_linears:
            result["linears"] = linears(options.repeats)
            result["linears together"] = linears_together(result["linears"])
            print(f"a block's layers together: {result['linears together']:.3f}", flush=True)
            reached.append(result["linears together"] >= WANTED_LINEARS)
        if not options.only_linears:
            result |= passes(options)
            small = options.width * options.height < SMALL_AREA
            reached.append(result["speed-up"] >= (WANTED_SMALL if small else WANTED_LARGE))
    write(result, options.out)
    return 0 if all(reached) else 1


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    add_size(parser)
    parser.add_argument("--truth-frames", type=int, default=17, help="frames of the float32 pass")
    parser.add_argument("--eager", action="store_true", help="do not compile the blocks")
    parser.add_argument("--unpacked", action="store_true", help="time unpacked fp8 weights, too")
    parser.add_argument("--skip-linears", action="store_true")
    parser.add_argument("--only-linears", action="store_true")
    parser.add_argument("--skip-truth", action="store_true")
    return parser.parse_args()


# Linear layers alone


def linears(repeats: int) -> list[dict[str, Any]]:
    print(
        f"{TOKENS} tokens        {'bf16':>9} {'fp8':>9} {'compiled':>9} {'speed-up':>8} "
        f"{'inputs':>9} {'plain':>9} {'product':>9}   error"
    )
    rows = []
    for columns, outputs in LAYERS:
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
        times = {name: 1000 * row["seconds"] for name, row in measured(runs, repeats).items()}
        exact = F.linear(x.float(), weight, plain.bias.float())
        row = {
            "inputs": columns,
            "outputs": outputs,
            "milliseconds": times,
            "speed-up": times["bf16"] / min(times["fp8"], times["compiled"]),
            "error of bf16": relative(plain(x), exact),
            "error of fp8": relative(layer(x), exact),
            "compiled beside eager": relative(compiled(x), layer(x)),
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
    model = random_model(wide(options.layers))
    products = quantise(twin_of(model), in_fp8=True)
    unpacked = twin_of(products)
    for layer in unpacked.modules():
        if isinstance(layer, QuantLinear):
            layer.in_fp8 = False
    models = {"bf16": model, "fp8 products": products}
    if options.unpacked:
        models["fp8 unpacked"] = unpacked
    result: dict[str, Any] = {
        "weights GB": {name: bytes_of(one) / GB for name, one in models.items()},
        "share of the weights": bytes_of(products) / bytes_of(model),
    }
    if not options.skip_truth:
        result["errors"] = errors(model, products, unpacked, options)
    if not options.eager:
        for one in models.values():
            compile_units(one)
    clip = inputs(model.config, options.frames, options.height, options.width)
    runs = {name: (lambda one=one: one(*clip)) for name, one in models.items()}
    result["difference"] = relative(runs["fp8 products"](), runs["bf16"]())
    result["passes"] = measured(runs, options.repeats)
    for one in models.values():
        refuse_failed(one)
    seconds = {name: row["seconds"] for name, row in result["passes"].items()}
    result["speed-up"] = seconds["bf16"] / seconds["fp8 products"]
    show(result, compiled=not options.eager)
    return result


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


def show(result: Mapping[str, Any], *, compiled: bool) -> None:
    how = "compiled" if compiled else "eager"
    print(f"{how}, weights in fp8 are {result['share of the weights']:.1%} of those in bf16")
    for name, row in result["passes"].items():
        print(
            f"{name:14} {1000 * row['seconds']:9.1f} ms (spread {row['spread']:.1%}), "
            f"{result['weights GB'][name]:5.1f} GB of weights, {row['work GB']:5.2f} GB beside them"
        )
    print(
        f"speed-up {result['speed-up']:.3f}; velocities differ by {result['difference']:.2e} (relative norm)"
    )
    for name, error in result.get("errors", {}).items():
        print(f"error of the velocity against float32, {name:14} {error:.2e}")


if __name__ == "__main__":
    sys.exit(main())
