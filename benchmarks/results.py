"""Makes RESULTS.md from what the other benchmarks wrote to ``results/``; with ``--check`` it only compares.

    python benchmarks/results.py

A file is called ``results/NAME.CARD.json``: NAME as in :data:`ROWS`, CARD whatever tells machines apart. A
newer one takes the place of an older one. ``"note"`` in a file is printed with its versions. Needs nothing but
Python.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
GIB = 2**30 / 1e9
Json = Mapping[str, Any]
Found = tuple[str, bool | None]
"""What was measured, and whether that is what was wanted; None = nothing particular was wanted."""

LAYERS = {(5120, 5120): 6, (5120, 13824): 1, (13824, 5120): 1}
"""Inputs and outputs of linear layers -> how many a block has that work on the video's tokens."""


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        what: is measured.
        wanted: of it.
        name: of the files that tell.
        command: that writes such a file.
        read: finds the figure; KeyError where a file doesn't have it.
    """

    what: str
    wanted: str
    name: str
    command: str
    read: Callable[[Json], Found]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 unless it is up to date")
    options = parser.parse_args()
    path = FOLDER / "RESULTS.md"
    text = page(files_in(FOLDER / "results"))
    if options.check:
        if path.read_text(encoding="utf-8") == text:
            return 0
        print("RESULTS.md is not up to date: run python benchmarks/results.py", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


def files_in(folder: Path) -> dict[str, Json]:
    """File name -> what is in it, in their order."""
    return {
        path.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


# Figures


def speed(mode: str, least: float) -> Callable[[Json], Found]:
    def read(result: Json) -> Found:
        row = result["modes"][mode]
        both = "; ".join(f"{name} {seconds(row[name])}" for name in ("wan_core", "diffusers"))
        return f"{row['speed']:.3f} × ({both})", row["speed"] >= least

    return read


def swapped(result: Json) -> Found:
    row = result["modes"]["offload-compiled"]
    ratio, peak = row["wan_core"]["beside resident"], row["wan_core"]["peak GB"] / GIB
    both = "; ".join(f"{name} {seconds(row[key])}" for name, key in SWAPPED.items())
    beside = f"diffusers' group offloading {seconds(row['diffusers'])}"
    text = f"{ratio - 1:+.1%}, peak {peak:.2f} GiB ({both}; {beside})"
    return text, ratio <= 1.03 and peak <= 5.3


SWAPPED = {"swapped": "wan_core", "resident": "resident"}


def swapped_eagerly(result: Json) -> Found:
    row = next(one for one in result["passes"] if (one["frames"], one["prefetch"]) == (81, 1))
    text = (
        f"{row['ratio'] - 1:+.1%}, peak {row['peak GB'] / GIB:.2f} GiB, {row['hidden']:.1%} of the "
    )
    text += f"copying hidden, bits {'equal' if row['bits equal'] else 'DIFFERENT'}"
    return text, row["ratio"] <= 1.03 and row["bits equal"]


def set_up(result: Json) -> Found:
    own, beside, sides = result["of a read"], result.get("of diffusers"), result["sides"]
    text = f"{own:.2f} reads ({sides['wan_core']['seconds']:.1f} s)"
    if beside is None:
        return f"{text}; diffusers not measured", False
    text += f", {beside:.2f} of diffusers' {sides['diffusers']['seconds']:.1f} s"
    return text, own <= 3 and beside <= 0.5


def budgets(result: Json) -> Found:
    parts = []
    for row in result["runs"]:
        title = f"{row['precision']} {row['budget GiB']:g} GiB"
        ratio = row.get("real over predicted")
        if "error" in row or ratio is None:
            parts.append(f"{title}: failed")
        else:
            real = row["real peak"] / 2**30
            parts.append(f"{title}: {real:.2f} GiB, {ratio - 1:+.1%}")
    return "; ".join(parts), all(row["ok"] for row in result["runs"]) and len(parts) >= 8


def products(least: float) -> Callable[[Json], Found]:
    def read(result: Json) -> Found:
        text = f"{result['speed-up']:.3f} ×"
        if "passes" in result:
            both = (f"{name} {seconds(row)}" for name, row in result["passes"].items())
            text += f" ({'; '.join(both)})"
        return text, result["speed-up"] >= least

    return read


def linears(result: Json) -> Found:
    each = ", ".join(
        f"{row['inputs']} → {row['outputs']} {row['speed-up']:.2f}" for row in result["linears"]
    )
    together = linears_together(result["linears"])
    return f"{together:.2f} × ({each})", together >= 1.6


def linears_together(rows: Iterable[Json]) -> float:
    """How many times as fast a block's linear layers are in 8 bits, one after the other."""
    before = after = 0.0
    for row in rows:
        times, count = row["milliseconds"], LAYERS[row["inputs"], row["outputs"]]
        before += count * times["bf16"]
        after += count * min(times["fp8"], times["compiled"])
    return before / after


def errors(result: Json) -> Found:
    found = ", ".join(f"{name} {error:.1e}" for name, error in result["errors"].items())
    return f"relative norm against float32: {found}", None


def storage(result: Json) -> Found:
    share = result["share of the weights"]
    work = result.get("peak GB beside the weights") or {
        name: row["work GB"] for name, row in result["passes"].items()
    }
    peaks = {name: count + work[name] for name, count in result["weights GB"].items()}
    saved = 1 - peaks["fp8 products"] / peaks["bf16"]
    text = (
        f"{share:.1%}; peak of a pass {peaks['fp8 products']:.1f} GB instead of {peaks['bf16']:.1f}"
    )
    return f"{text}: {saved:.0%} saved", share <= 0.52


def lora(*, compiled: bool) -> Callable[[Json], Found]:
    def read(result: Json) -> Found:
        row = next((one for one in result["passes"] if one["compiled"] == compiled), None)
        if row is None:
            raise KeyError("passes")
        added, ratio, anew = row["added of predicted"], row["ratio"], row["compiled anew"]
        text = f"added {row['added GB']:.3f} GB, {added - 1:+.1%}; {ratio - 1:+.1%} time"
        return f"{text}; {anew} graphs compiled anew", (
            abs(added - 1) <= 0.1 and ratio <= 1.04 and not anew
        )

    return read


def small(mode: str) -> Callable[[Json], Found]:
    def read(result: Json) -> Found:
        ratio = result[mode]["ratio"]
        found = ", ".join(f"{n} {e:.1e}" for n, e in result["error against float32"].items())
        return f"{1 / ratio:.3f} ×; error against float32: {found}", ratio <= 1

    return read


def stated(result: Json) -> Found:
    """Of what a test says: ``{"measured": "20 of 20", "met": true}``."""
    return str(result["measured"]), bool(result["met"])


def seconds(row: Json) -> str:
    return f"{row['seconds']:.3f} s ± {row['spread'] / 2:.1%}"


LARGE = "--height 720 --width 1280"
WAN14B = "python benchmarks/wan14b.py"
FP8 = "python benchmarks/fp8_products.py"
ROWS: Sequence[Row] = (
    Row("14 B bfloat16, resident, compiled, beside diffusers compiled, 480p", "≥ 1.03 × its speed",
        "wan14b-480p", WAN14B, speed("compiled", 1.03)),
    Row("the same at 720p", "≥ 1.00 ×",
        "wan14b-720p", f"{WAN14B} {LARGE} --modes compiled", speed("compiled", 1.0)),
    Row("the same with 39 of 40 blocks swapped, beside itself resident, 480p",
        "≤ 3 % slower, peak ≤ 5.3 GiB", "wan14b-480p", f"{WAN14B} --modes offload-compiled", swapped),
    Row("the same eagerly", "≤ 3 % slower", "block_swap", "python benchmarks/block_swap.py",
        swapped_eagerly),
    Row("set-up of the swap from the page cache, pinning included",
        "≤ 3 single-threaded reads, ≤ 0.5 of diffusers'", "swap_setup",
        "python benchmarks/swap_setup.py", set_up),
    Row("encode, 3 steps with guidance, decode, file; 14 B, 480p, 81 frames, the allocator capped",
        "all complete, never above 8, 12, 16, 24 GiB, bf16 and fp8; prediction within 5 %",
        "budgets", "python benchmarks/budgets.py", budgets),
    Row("fp8 weights and products, compiled, beside our bfloat16, 480p", "≥ 1.15 ×",
        "fp8_products-480p", FP8, products(1.15)),
    Row("the same at 720p", "≥ 1.08 ×",
        "fp8_products-720p", f"{FP8} {LARGE} --skip-linears --skip-truth", products(1.08)),
    Row("a block's linear layers alone, rounding of the inputs included", "≥ 1.6 ×",
        "fp8_products-480p", f"{FP8} --only-linears", linears),
    Row("error of the velocity in fp8", "stated", "fp8_products-480p", FP8, errors),
    Row("weights in fp8", "≤ 52 % of bfloat16; peak stated", "fp8_products-480p", FP8, storage),
    Row("LoRA of 1 GB apart, 20 of 40 blocks swapped, eager",
        "memory within 10 % of the arithmetic, ≤ 4 % slower", "lora_apart",
        "python benchmarks/lora_apart.py", lora(compiled=False)),
    Row("the same compiled", "the same", "lora_apart", "python benchmarks/lora_apart.py",
        lora(compiled=True)),
    Row("runs of a tiny model, killed at random moments and resumed", "20 of 20 bit-equal",
        "kills", "make soak", stated),
    Row("50 runs in one process, 20 times out of memory", "no growth of memory beyond 1 %",
        "growth", "make soak", stated),
    Row("1.3 B bfloat16 beside diffusers, eager", "≥ 1.00 × its speed", "transformer_vs_diffusers",
        "python benchmarks/transformer_vs_diffusers.py", small("eager")),
    Row("the same compiled", "≥ 1.00 ×", "transformer_vs_diffusers",
        "python benchmarks/transformer_vs_diffusers.py", small("compiled")),
)  # fmt: skip


# The page


def page(files: Mapping[str, Json]) -> str:
    lines = [
        "# Results",
        "",
        "Made by `python benchmarks/results.py` from `results/*.json`. Medians; ± is half of the spread "
        "between the fastest and the slowest repeat. × is how many times the speed of the other.",
        "",
        "| what | wanted | measured | reached | file | command |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in ROWS:
        found = list(findings(row, files)) or [("", "not measured", None)]
        for file, text, met in found:
            reached = {True: "yes", False: "no", None: "–"}[met]
            link = f"[{file}](results/{file})" if file else "–"
            lines.append(
                f"| {row.what} | {row.wanted} | {text} | {reached} | {link} | `{row.command}` |"
            )
    lines += ["", "| file | machine | versions | note |", "| --- | --- | --- | --- |"]
    for file, result in files.items():
        versions = ", ".join(
            f"{name} {result[name]}" for name in ("torch", "triton", "diffusers") if name in result
        )
        notes = [str(result[key]) for key in ("size", "note") if result.get(key)]
        if result.get("rows"):
            notes.append(f"our feed-forward handles {result['rows']} tokens at a time")
        note = "; ".join(notes) or "–"
        lines.append(f"| {file} | {result.get('device', '–')} | {versions} | {note} |")
    return "\n".join(lines) + "\n"


def findings(row: Row, files: Mapping[str, Json]) -> Iterable[tuple[str, str, bool | None]]:
    """File, what was measured and whether it is reached, for each machine."""
    for file, result in files.items():
        if file.partition(".")[0] != row.name:
            continue
        try:
            text, met = row.read(result)
        except KeyError:  # it was asked for a part only
            continue
        yield file, text, met


if __name__ == "__main__":
    sys.exit(main())
