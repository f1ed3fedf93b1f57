"""One block of a 14 B Wan transformer, compiled in several ways, side by side with diffusers' block.

    python benchmarks/block_variants.py --out result.json
    python benchmarks/block_variants.py --tokens 75600 --variants ours cudnn gelu diffusers

Random bfloat16 weights, the same in all variants of ours. Each variant is compiled, then all are timed in turn;
printed are the median of the rounds, their spread, the time relative to diffusers' block (or else to ours), the
memory beside weights and inputs, and the difference from the eager block. ``--profile`` prints the longest
kernels, and so which kernel attention is.

Needs an NVIDIA GPU with some 20 GB free, about two minutes of an H100, and of Python packages only torch, attrs
and einops; diffusers' block takes part where it is installed.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from wan_core.contract.attention import AttentionCall
from wan_core.models.families.parts import WIDE
from wan_core.models.wan import BlockCall, Source, WanBlock, WanConfig, attention, rope_tables
from wan_core.models.wan.sub_steps import FeedForward, SelfAttention

GRIDS = {32760: (21, 30, 52), 75600: (21, 45, 80), 3060: (3, 30, 34)}
TEXT = 512
Run = Callable[[], Tensor]


@attrs.frozen
class Variant:
    """A way to run the block.

    Attributes:
        change: made to a copy of the block.
        rows: tokens that the feed-forward handles at a time.
        within: holds while it is compiled and run.
        options: of inductor.
    """

    change: Callable[[WanBlock], None] = lambda block: None
    rows: int | None = None
    within: Callable[[], AbstractContextManager[Any]] = nullcontext
    options: Mapping[str, Any] = attrs.field(factory=dict)


class FusedSelfAttention(SelfAttention):
    """q, k and v in one product."""

    qkv_weight: Tensor
    qkv_bias: Tensor

    def forward(self, x: Tensor, call: AttentionCall) -> Tensor:
        q, k, v = F.linear(x, self.qkv_weight, self.qkv_bias).chunk(3, dim=-1)
        split = (self.heads, -1)
        q, k = self.norm_q(q).unflatten(-1, split), self.norm_k(k).unflatten(-1, split)
        attended = self.attend(q, k, v.unflatten(-1, split), call)
        out: Tensor = self.o(attended.flatten(-2))
        return out


class GeluInProduct(FeedForward):
    """GELU while the first product still is in float32: one pass less over the hidden tensor."""

    def forward(self, x: Tensor) -> Tensor:
        first, last = self[0], self[2]
        flat = x.flatten(0, -2)
        hidden = torch._addmm_activation(first.bias, flat, first.weight.t(), use_gelu=True)
        out: Tensor = last(hidden).view(x.shape)
        return out


def fuse(block: WanBlock) -> None:
    own = block.self_attn
    own.__class__ = FusedSelfAttention
    layers = (own.q, own.k, own.v)
    own.qkv_weight = torch.cat([layer.weight for layer in layers])
    own.qkv_bias = torch.cat([layer.bias for layer in layers])


def gelu_in_product(block: WanBlock) -> None:
    block.ffn.__class__ = GeluInProduct


def rotate_by_halves(block: WanBlock) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        bare = AttentionCall(lengths=call.lengths)
        return attention.attend(turned(q, call.rope_q), turned(k, call.rope_k), v, bare)

    def turned(x: Tensor, table: Any) -> Tensor:
        cos, sin = (part.unsqueeze(-2) for part in table)
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        parts = (even * cos - odd * sin, even * sin + odd * cos)
        return torch.stack(parts, dim=-1).flatten(-2).to(x.dtype)

    block.self_attn.attend = attend


def both(block: WanBlock) -> None:
    fuse(block)
    gelu_in_product(block)


VARIANTS: dict[str, Variant] = {
    "ours": Variant(),
    "rows 8192": Variant(rows=8192),
    "rows 16384": Variant(rows=16384),
    "cudnn": Variant(within=lambda: sdpa_kernel(SDPBackend.CUDNN_ATTENTION)),
    "flash": Variant(within=lambda: sdpa_kernel(SDPBackend.FLASH_ATTENTION)),
    "gelu": Variant(gelu_in_product),
    "qkv": Variant(fuse),
    "gelu qkv": Variant(both),
    "rope": Variant(rotate_by_halves),
    "tuned": Variant(options={"max_autotune_pointwise": True, "coordinate_descent_tuning": True}),
}
PEER = "diffusers"


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = compare(options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, choices=GRIDS, default=32760)
    names = [*VARIANTS, PEER]
    parser.add_argument("--variants", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--profile", action="store_true", help="print the longest kernels of each")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, help="JSON")
    return parser.parse_args()


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    device = torch.device(options.device)
    config = WanConfig(**WIDE)
    block = random_block(config, device)
    stream = torch.randn(1, options.tokens, config.dim, device=device)
    call = inputs(config, GRIDS[options.tokens], device)
    eager = block(stream, call)
    runs: dict[str, Run] = {}
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "tokens": options.tokens,
        "compiled": not options.eager,
        "variants": {},
    }
    print(f"{result['device']}, torch {result['torch']}: a block of 14 B, {options.tokens} tokens")
    for name in options.variants:
        start = time.perf_counter()
        try:
            runs[name] = (
                diffusers_run(config, stream, GRIDS[options.tokens], not options.eager)
                if name == PEER
                else our_run(block, VARIANTS[name], stream, call, not options.eager)
            )
            out, peak = measured_peak(runs[name], device)
        except Exception as error:  # a variant that this machine has not is no reason to stop
            print(f"{name:>11}: left out ({type(error).__name__}: {str(error).splitlines()[0]})")
            runs.pop(name, None)
            continue
        row = {"first call": time.perf_counter() - start, "peak GB": peak / 1e9}
        if name != PEER:
            row["difference"] = float((out.float() - eager).norm() / eager.norm())
        result["variants"][name] = row
        if options.profile:
            profile(name, runs[name])
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            synchronize(device)
            start = time.perf_counter()
            run()
            synchronize(device)
            times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        result["variants"][name] |= {
            "seconds": statistics.median(seconds),
            "spread": (max(seconds) - min(seconds)) / statistics.median(seconds),
        }
    show(result)
    return result


def random_block(config: WanConfig, device: torch.device) -> WanBlock:
    with device:
        block = WanBlock(config).eval().requires_grad_(False)
    for name, parameter in block.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.fill_(1)
        else:
            parameter.normal_(std=0.02)
        if "norm3" not in name and name != "modulation":
            parameter.data = parameter.data.bfloat16()
    return block


def inputs(config: WanConfig, grid: tuple[int, int, int], device: torch.device) -> BlockCall:
    rope = rope_tables(config.head_width, grid, device=device)
    text = torch.randn(1, TEXT, config.dim, device=device).bfloat16()
    return BlockCall(
        torch.randn(1, 1, 6, config.dim, device=device) * 0.1,
        AttentionCall(rope_q=rope, rope_k=rope, grid=grid),
        (Source("text", text, AttentionCall("text", grid=grid)),),
        torch.bfloat16,
    )


def our_run(
    block: WanBlock, variant: Variant, stream: Tensor, call: BlockCall, compiled: bool
) -> Run:
    own = copy.deepcopy(block)
    variant.change(own)
    told = attrs.evolve(call, rows=variant.rows)
    if compiled:
        own.compile(dynamic=False, options=dict(variant.options))

    def run() -> Tensor:
        with variant.within():
            out: Tensor = own(stream, told)
        return out

    return run


def diffusers_run(
    config: WanConfig, stream: Tensor, grid: tuple[int, int, int], compiled: bool
) -> Run:
    from diffusers.models.transformers.transformer_wan import (
        WanRotaryPosEmbed,
        WanTransformerBlock,
    )

    device = stream.device
    with device:
        block = WanTransformerBlock(
            config.dim,
            config.ffn_dim,
            config.num_heads,
            qk_norm="rms_norm_across_heads",
            cross_attn_norm=True,
        )
        rotary = WanRotaryPosEmbed(config.head_width, (1, 2, 2), 1024)
    block = block.eval().requires_grad_(False).bfloat16()
    for name, parameter in block.named_parameters():
        if not ("norm" in name and name.endswith("weight")):
            parameter.normal_(std=0.02)
        if "norm" in name or "scale_shift" in name:  # as diffusers loads it
            parameter.data = parameter.data.float() if "attn" not in name else parameter.data
    frames, height, width = grid
    table = rotary(torch.empty(1, 16, frames, 2 * height, 2 * width, device=device))
    hidden = stream.bfloat16()
    text = torch.randn(1, TEXT, config.dim, device=device).bfloat16()
    time_rows = torch.randn(1, 6, config.dim, device=device).bfloat16() * 0.1
    if compiled:
        block.compile(dynamic=False)
    return lambda: block(hidden, text, time_rows, table)


def measured_peak(run: Run, device: torch.device) -> tuple[Tensor, int]:
    """The result, and the highest memory beside what is there; the first call compiles."""
    out = run()
    if device.type != "cuda":
        return out, 0
    del out
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    out = run()
    torch.cuda.synchronize()
    return out, torch.cuda.max_memory_allocated() - before


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def profile(name: str, run: Run) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    with watch(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        run()
        torch.cuda.synchronize()
    print(f"-- {name}")
    kernels = [event for event in seen.key_averages() if event.device_time_total]
    kernels = [event for event in kernels if str(event.device_type).endswith("CUDA")]
    for event in sorted(kernels, key=lambda one: -one.self_device_time_total)[:14]:
        print(f"{event.self_device_time_total / 1e3:9.3f} ms {event.count:3}  {event.key[:90]}")


def show(result: dict[str, Any]) -> None:
    rows = result["variants"]
    base = PEER if PEER in rows else next(iter(rows))
    print(
        f"{'':>11} {'ms':>9} {'spread':>7} {f'speed of {base}':>18} {'peak GB':>8} "
        f"{'difference':>10} {'first s':>8}"
    )
    for name, row in rows.items():
        row["speed"] = rows[base]["seconds"] / row["seconds"]
        difference = f"{row['difference']:10.1e}" if "difference" in row else f"{'':10}"
        print(
            f"{name:>11} {row['seconds'] * 1e3:9.2f} {row['spread']:7.1%} {row['speed']:17.3f}x "
            f"{row['peak GB']:8.2f} {difference} {row['first call']:8.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
