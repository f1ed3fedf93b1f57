"""One block of a 14 B Wan transformer, compiled in several ways, side by side with diffusers' block.

    python benchmarks/block_variants.py --out result.json
    python benchmarks/block_variants.py --tokens 75600 --variants ours cudnn qkv diffusers

Random bfloat16 weights, the same in all variants of ours. Each variant is compiled, then all are timed in turn;
printed are the median of the rounds, their spread, the time relative to diffusers' block (or else to ours), the
memory beside weights and inputs, and the difference from the eager block. ``--profile`` prints the longest
kernels, and so which kernel attention is.

Needs an NVIDIA GPU with some 20 GB free, about two minutes of an H100, and of Python packages only torch,
attrs, einops and cattrs; diffusers' block takes part where it is installed.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import torch
import torch.nn.functional as F
from side_by_side import (
    DEVICE,
    Run,
    environment,
    measured,
    options_of,
    profile,
    relative,
    timed,
    wide,
    write,
)
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from wan_core.contract.attention import AttentionCall
from wan_core.models.wan import BlockCall, Source, WanBlock, WanConfig, attention, rope_tables
from wan_core.models.wan.sub_steps import SelfAttention

GRIDS = {32760: (21, 30, 52), 75600: (21, 45, 80), 3060: (3, 30, 34)}
TEXT = 512


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


def fuse(block: WanBlock) -> None:
    own = block.self_attn
    own.__class__ = FusedSelfAttention
    layers = (own.q, own.k, own.v)
    own.qkv_weight = torch.cat([layer.weight for layer in layers])
    own.qkv_bias = torch.cat([layer.bias for layer in layers])


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


VARIANTS: dict[str, Variant] = {
    "ours": Variant(),
    "rows 8192": Variant(rows=8192),
    "rows 16384": Variant(rows=16384),
    "cudnn": Variant(within=lambda: sdpa_kernel(SDPBackend.CUDNN_ATTENTION)),
    "flash": Variant(within=lambda: sdpa_kernel(SDPBackend.FLASH_ATTENTION)),
    "qkv": Variant(fuse),
    "rope": Variant(rotate_by_halves),
    "tuned": Variant(options={"max_autotune_pointwise": True, "coordinate_descent_tuning": True}),
}
PEER = "diffusers"


def main() -> int:
    options = parse()
    torch.manual_seed(0)
    result = compare(options)
    write(result, options.out)
    return 0


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    parser.add_argument("--tokens", type=int, choices=GRIDS, default=32760)
    names = [*VARIANTS, PEER]
    parser.add_argument("--variants", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--profile", action="store_true", help="print the longest kernels of each")
    return parser.parse_args()


@torch.no_grad()
def compare(options: argparse.Namespace) -> dict[str, Any]:
    config = wide()
    grid = GRIDS[options.tokens]
    block = random_block(config)
    stream = torch.randn(1, options.tokens, config.dim, device=DEVICE)
    call = block_inputs(config, grid)
    eager = block(stream, call)
    runs: dict[str, Run] = {}
    rows: dict[str, dict[str, Any]] = {}
    result: dict[str, Any] = environment() | {
        "tokens": options.tokens,
        "compiled": not options.eager,
        "variants": rows,
    }
    print(f"{result['device']}, torch {result['torch']}: a block of 14 B, {options.tokens} tokens")
    for name in options.variants:
        row: dict[str, Any] = {}
        try:
            with timed(row, "first call"):
                run = (
                    diffusers_run(config, stream, grid, not options.eager)
                    if name == PEER
                    else our_run(block, VARIANTS[name], stream, call, not options.eager)
                )
                out = run()
        except Exception as error:  # a variant that this machine has not is no reason to stop
            print(f"{name:>11}: left out ({type(error).__name__}: {str(error).splitlines()[0]})")
            continue
        if name != PEER:
            row["difference"] = relative(out, eager)
        del out
        runs[name], rows[name] = run, row
        if options.profile:
            profile(name, run)
    for name, times in measured(runs, options.rounds).items():
        rows[name] |= times
    show(result)
    return result


def random_block(config: WanConfig) -> WanBlock:
    with DEVICE:
        block = WanBlock(config).eval().requires_grad_(False)
    for name, parameter in block.named_parameters():
        if "norm" in name and name.endswith("weight"):
            parameter.fill_(1)
        else:
            parameter.normal_(std=0.02)
        if "norm3" not in name and name != "modulation":
            parameter.data = parameter.data.bfloat16()
    return block


def block_inputs(config: WanConfig, grid: tuple[int, int, int]) -> BlockCall:
    rope = rope_tables(config.head_width, grid, device=DEVICE)
    text = torch.randn(1, TEXT, config.dim, device=DEVICE).bfloat16()
    return BlockCall(
        torch.randn(1, 1, 6, config.dim, device=DEVICE) * 0.1,
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

    with DEVICE:
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
    table = rotary(torch.empty(1, 16, frames, 2 * height, 2 * width, device=DEVICE))
    hidden = stream.bfloat16()
    text = torch.randn(1, TEXT, config.dim, device=DEVICE).bfloat16()
    time_rows = torch.randn(1, 6, config.dim, device=DEVICE).bfloat16() * 0.1
    if compiled:
        block.compile(dynamic=False)
    return lambda: block(hidden, text, time_rows, table)


def show(result: dict[str, Any]) -> None:
    rows = result["variants"]
    base = PEER if PEER in rows else next(iter(rows))
    print(
        f"{'':>11} {'ms':>9} {'spread':>7} {f'speed of {base}':>18} {'work GB':>8} "
        f"{'difference':>10} {'first s':>8}"
    )
    for name, row in rows.items():
        row["speed"] = rows[base]["seconds"] / row["seconds"]
        difference = f"{row['difference']:10.1e}" if "difference" in row else f"{'':10}"
        print(
            f"{name:>11} {row['seconds'] * 1e3:9.2f} {row['spread']:7.1%} {row['speed']:17.3f}x "
            f"{row['work GB']:8.2f} {difference} {row['first call']:8.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
