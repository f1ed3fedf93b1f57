"""A forward pass of Wan 1.3 B here and in diffusers: time, and how far each is from float32.

    python benchmarks/transformer_vs_diffusers.py --out result.json

Random weights in the shape of Wan 2.1 T2V 1.3B, drawn in float32, the same in both; bfloat16 as either project
loads it (what each keeps in float32 stays so). The error is that of the velocity of a short clip against our
model in float32, for which 14 B would be too many; wan14b.py has those in all modes. Timed in turns, eager
beside eager and compiled beside compiled, block by block; medians. TF32 is off for both. Exits 1 where we are
slower.

Needs an NVIDIA GPU with about 20 GB free, and diffusers.
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
    Inputs,
    Run,
    add_size,
    cast,
    compile_diffusers,
    diffusers_form,
    environment,
    inputs,
    measured,
    options_of,
    profile,
    refuse_failed,
    relative,
    size_of,
    write,
)
from torch import nn

from wan_core.memory import compile_units
from wan_core.models.families.parts import SMALL
from wan_core.models.wan import WanConfig, WanTransformer

TRUTH_FRAMES = 17
MODES = ("eager", "compiled")


def main() -> int:
    options = parse()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    result = compare(options)
    write(result, options.out)
    return 0 if result["ok"] else 1


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    add_size(parser, repeats=7)
    parser.add_argument("--eager-only", action="store_true")
    parser.add_argument("--profile", action="store_true", help="print the longest kernels of each")
    return parser.parse_args()


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Time both and measure how far each is from float32."""
    config = WanConfig(**SMALL)
    config = attrs.evolve(config, num_layers=options.layers or config.num_layers)
    with DEVICE:
        ours = WanTransformer(config).eval()
    ours.initialise()
    nn.init.normal_(ours.head.head.weight, std=0.02)

    small = inputs(config, TRUTH_FRAMES, options.height, options.width)
    truth = ours(*small)
    theirs = diffusers_form(ours)
    cast(ours, WanTransformer.KEEP_FLOAT32)

    def runs(arguments: Inputs) -> dict[str, Run]:
        return {
            "wan_core": lambda: ours(*arguments),
            "diffusers": lambda: theirs(*arguments, return_dict=False)[0],
        }

    result = environment() | {"size": f"{size_of(options)}, {config.num_layers} blocks"}
    result["error against float32"] = {
        name: relative(run(), truth) for name, run in runs(small).items()
    }
    full = runs(inputs(config, options.frames, options.height, options.width))
    outputs = {name: run() for name, run in full.items()}
    result["difference of the two"] = relative(outputs["wan_core"], outputs["diffusers"])
    modes = MODES[:1] if options.eager_only else MODES
    for mode in modes:
        if mode == "compiled":
            compile_units(ours)
            compile_diffusers(theirs)
        elif options.profile:
            for name, run in full.items():
                profile(name, run)
        row = result[mode] = measured(full, options.repeats)
        row["ratio"] = row["wan_core"]["seconds"] / row["diffusers"]["seconds"]
        refuse_failed(ours)
    result["ok"] = all(result[mode]["ratio"] <= 1.0 for mode in modes)
    show(result, modes)
    return result


def show(result: Mapping[str, Any], modes: tuple[str, ...]) -> None:
    print(f"{result['size']}, bfloat16, {result['device']}, torch {result['torch']}")
    print(f"{'':10} {'wan_core':>12} {'diffusers':>12} {'ratio':>8} {'work GB':>20}")
    for mode in modes:
        ours, theirs = (result[mode][name] for name in ("wan_core", "diffusers"))
        print(
            f"{mode:10} {1000 * ours['seconds']:9.1f} ms {1000 * theirs['seconds']:9.1f} ms "
            f"{result[mode]['ratio']:8.3f} {ours['work GB']:9.2f} {theirs['work GB']:10.2f}"
        )
    errors = result["error against float32"]
    print(
        f"relative error against float32: wan_core {errors['wan_core']:.2e}, "
        f"diffusers {errors['diffusers']:.2e}; between the two {result['difference of the two']:.2e}"
    )


if __name__ == "__main__":
    sys.exit(main())
