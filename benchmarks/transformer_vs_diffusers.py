"""One forward pass of the Wan transformer here and in diffusers, side by side in one process.

    python benchmarks/transformer_vs_diffusers.py --json result.json
    python benchmarks/transformer_vs_diffusers.py --check

Random weights in the shape of Wan 2.1 T2V 1.3B, the same in both; bfloat16 as either project loads it
(what each keeps in float32 stays so). Timed alternately, eager beside eager and compiled beside
compiled (every block with ``Module.compile``, one compilation each), medians. TF32 is off for both.
Needs an NVIDIA GPU with about 20 GB free, and diffusers.

``--check`` compares float32 predictions of small transformers on the GPU with those on the CPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.dialects import DIFFUSERS

Run = Callable[[], Tensor]
WAN21_1_3B = WanConfig(dim=1536, ffn_dim=8960, num_heads=12, num_layers=30)
TRUTH_FRAMES = 17
CHECK_BOUND = 1e-5


def main() -> int:
    options = parse()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    result = check() if options.check else compare(options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if result["ok"] else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=81, help="pixel frames, 4n + 1")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--layers", type=int, default=WAN21_1_3B.num_layers)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--eager-only", action="store_true")
    parser.add_argument("--profile", action="store_true", help="print the longest kernels of each")
    parser.add_argument("--check", action="store_true", help="float32 on the GPU against the CPU")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


# Side by side


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Time both and measure how far each is from float32."""
    config = attrs.evolve(WAN21_1_3B, num_layers=options.layers)
    with torch.device("cuda"):
        ours = WanTransformer(config).eval()
    ours.initialise()
    nn.init.normal_(ours.head.head.weight, std=0.02)
    theirs = build_theirs(ours)

    small = inputs(config, TRUTH_FRAMES, options.height, options.width)
    truth = ours(*small)
    cast(ours, WanTransformer.KEEP_FLOAT32)
    cast(theirs, [f"*{part}*" for part in theirs._keep_in_fp32_modules])

    def runs(arguments: tuple[Tensor, Tensor, Tensor]) -> dict[str, Run]:
        return {
            "wan_core": lambda: ours(*arguments),
            "diffusers": lambda: theirs(*arguments, return_dict=False)[0],
        }

    result: dict[str, Any] = environment()
    result["size"] = (
        f"{options.width}x{options.height}x{options.frames}, {config.num_layers} blocks"
    )
    result["error against float32"] = {
        name: relative(run().float(), truth) for name, run in runs(small).items()
    }
    full = runs(inputs(config, options.frames, options.height, options.width))
    outputs = {name: run().float() for name, run in full.items()}
    result["difference of the two"] = relative(outputs["wan_core"], outputs["diffusers"])
    if options.profile:
        for name, run in full.items():
            profile(name, run)
    result["eager"] = measured(full, options.repeats)
    if not options.eager_only:
        for block in (*ours.blocks, *theirs.blocks):
            block.compile()
        result["compiled"] = measured(full, options.repeats)
    modes = [mode for mode in ("eager", "compiled") if mode in result]
    result["ok"] = all(result[mode]["ratio"] <= 1.0 for mode in modes)
    show(result, modes)
    return result


def build_theirs(ours: WanTransformer) -> Any:
    from diffusers import WanTransformer3DModel

    config = ours.config
    with torch.device("cuda"):
        theirs = WanTransformer3DModel(
            num_attention_heads=config.num_heads,
            attention_head_dim=config.head_width,
            ffn_dim=config.ffn_dim,
            num_layers=config.num_layers,
        )
    weights = ours.state_dict()
    theirs.load_state_dict({str(DIFFUSERS.from_official(name)): weights[name] for name in weights})
    return theirs.eval()


def cast(model: nn.Module, keep_float32: Any) -> None:
    """Parameters to bfloat16, but for the names that fit a pattern."""
    for name, parameter in model.named_parameters():
        if not any(fnmatchcase(name, pattern) for pattern in keep_float32):
            parameter.data = parameter.data.to(torch.bfloat16)


def inputs(
    config: WanConfig, frames: int, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (1, config.in_dim, (frames - 1) // 4 + 1, height // 8, width // 8)
    latents = torch.randn(shape, device="cuda").bfloat16()
    text = torch.randn(1, config.text_len, config.text_dim, device="cuda").bfloat16()
    return latents, torch.tensor([723.0], device="cuda"), text


def measured(runs: Mapping[str, Run], repeats: int) -> dict[str, Any]:
    """Median milliseconds and activation memory of each, and the ratio of the two times."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    memory = {}
    for name, run in runs.items():
        run()  # warm up and compile
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        memory[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
    for _ in range(repeats):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "milliseconds": medians,
        "all milliseconds": times,
        "activations MiB": memory,
        "ratio": medians["wan_core"] / medians["diffusers"],
    }


def relative(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())


def profile(name: str, run: Run) -> None:
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as recorded:
        run()
        torch.cuda.synchronize()
    print(f"\n{name}, eager")
    averages = recorded.key_averages()
    print(averages.table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=60))


def environment() -> dict[str, Any]:
    import diffusers

    return {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


def show(result: Mapping[str, Any], modes: list[str]) -> None:
    print(f"{result['size']}, bfloat16, {result['device']}, torch {result['torch']}")
    print(f"{'':10} {'wan_core':>12} {'diffusers':>12} {'ratio':>8} {'activations MiB':>20}")
    for mode in modes:
        row = result[mode]
        ms, memory = row["milliseconds"], row["activations MiB"]
        print(
            f"{mode:10} {ms['wan_core']:9.1f} ms {ms['diffusers']:9.1f} ms {row['ratio']:8.3f} "
            f"{memory['wan_core']:9.0f} {memory['diffusers']:10.0f}"
        )
    errors = result["error against float32"]
    print(
        f"relative error against float32: wan_core {errors['wan_core']:.2e}, "
        f"diffusers {errors['diffusers']:.2e}; between the two {result['difference of the two']:.2e}"
    )


# Exactness of the GPU


@torch.no_grad()
def check() -> dict[str, Any]:
    """Float32 on the GPU against the CPU for a small transformer of each kind."""
    sizes = {"dim": 96, "ffn_dim": 160, "num_heads": 2, "num_layers": 4, "text_dim": 32}
    kinds: dict[str, dict[str, Any]] = {
        "text": {},
        "image": {"in_dim": 36, "image_dim": 24},
        "vace": {"vace_layers": (0, 2), "vace_in_dim": 96},
    }
    errors = {}
    for kind, more in kinds.items():
        config = WanConfig(**(sizes | more))
        transformer = WanTransformer(config).eval()
        for parameter in transformer.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        for timesteps in (torch.tensor([700.0, 31.5]), 500 * torch.rand(2, 3)):
            arguments = (torch.randn(2, config.in_dim, 3, 8, 6), timesteps, torch.randn(2, 40, 32))
            extra: dict[str, Any] = {}
            if config.image_dim:
                extra["image_tokens"] = torch.randn(2, 17, config.image_dim)
            if config.vace_layers:
                extra["add_ons"] = {"vace": {"context": torch.randn(2, 96, 3, 8, 6)}}
            want = transformer.cpu()(*arguments, **extra)
            got = transformer.cuda()(*(a.cuda() for a in arguments), **on_gpu(extra)).cpu()
            key = f"{kind}, timestep per {'sample' if timesteps.ndim == 1 else 'frame'}"
            errors[key] = float((got - want).abs().max() / want.abs().max())
    for key, error in errors.items():
        print(f"{key:32} {error:.2e} {'ok' if error <= CHECK_BOUND else 'TOO LARGE'}")
    return {"float32, GPU against CPU": errors, "ok": max(errors.values()) <= CHECK_BOUND}


def on_gpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cuda()
    return {name: on_gpu(part) for name, part in value.items()}


if __name__ == "__main__":
    sys.exit(main())
