"""Whole runs of a 14 B under budgets that cannot hold it: text, steps with guidance, decoding, a file.

    python benchmarks/budgets.py --out result.json

Files of random weights in full size (UMT5-XXL, Wan 2.1 T2V 14B, its VAE) are written first. Each run is a
process of its own whose allocator is capped at the budget, so that a plan that promises too little fails.
Printed: the predicted peak, the real one (what the allocator reserved, and the context), and the time.

Needs an NVIDIA GPU, 42 GB for files (``--folder``, in memory by default), 80 GB of RAM beside them, and
wan-core with all that it depends on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GIB = 2**30
TOKENIZER = Path(__file__).resolve().parents[1] / "wan_core" / "models" / "tiny" / "tokenizer.json"
FILES = {  # file -> manifest, precision
    "umt5.safetensors": ("umt5-xxl-encoder", "bf16"),
    "vae.safetensors": ("wan2.1-vae", "fp32"),
    "bf16.safetensors": ("wan2.1-t2v-14b", "bf16"),
    "fp8.safetensors": ("wan2.1-t2v-14b", "fp8_scaled"),
}
WORKFLOW = """
format = 1
[model]
family = "wan2.1-t2v-14b"
transformer = "{precision}.safetensors"
text_encoder = "umt5.safetensors"
vae = "vae.safetensors"
tokenizer = "{tokenizer}"
{more}
[[stages]]
use = "generate"
prompt = "a large red circle moves right on a black background"
negative_prompt = "blurred"
width = {width}
height = {height}
frames = {frames}
steps = {steps}
guidance = 5.0
[memory]
vram = {budget}
[output]
path = "frames-{precision}-{number}/%05d.png"
overwrite = true
"""


def main() -> int:
    options = parse()
    if options.one:
        print(json.dumps(one_run(options.one)))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for precision in options.precisions:
        write_files(options.folder, precision)
        for gibibytes in options.budgets:
            rows.append(in_a_process(options, precision, gibibytes))
            show(rows[-1])
            if options.out:
                options.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        (options.folder / f"{precision}.safetensors").unlink()  # makes room for the next
    return 0 if all(row["ok"] for row in rows) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/wan-core-budgets"))
    parser.add_argument("--budgets", type=float, nargs="+", default=[8, 12, 16, 24], help="GiB")
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp8"], default=["bf16", "fp8"])
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--more", default="", help="a line for the table [model]")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_files(folder: Path, precision: str) -> None:
    for name, (manifest, stored) in FILES.items():
        if name in ("umt5.safetensors", "vae.safetensors", f"{precision}.safetensors"):
            path = folder / name
            if not path.exists():
                script = Path(__file__).with_name("fake_checkpoint.py")
                command = [sys.executable, str(script), manifest, str(path)]
                subprocess.run([*command, "--precision", stored, "--device", "cuda"], check=True)


def in_a_process(options: argparse.Namespace, precision: str, gibibytes: float) -> dict[str, Any]:
    """One run under one budget, in a process that can have no more."""
    workflow = options.folder / f"{precision}-{gibibytes:g}.toml"
    text = WORKFLOW.format(
        precision=precision,
        tokenizer=TOKENIZER,
        more=options.more,
        width=options.width,
        height=options.height,
        frames=options.frames,
        steps=options.steps,
        budget=int(gibibytes * GIB),
        number=f"{gibibytes:g}",
    )
    workflow.write_text(text, encoding="utf-8")
    command = [sys.executable, __file__, "--one", str(workflow)]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    row: dict[str, Any] = {"precision": precision, "budget GiB": gibibytes}
    row["process seconds"] = time.perf_counter() - start
    if done.returncode:
        return row | {"ok": False, "error": done.stderr[-2000:]}
    row |= json.loads(done.stdout.splitlines()[-1])
    real, predicted, cap = row["real peak"], row["predicted peak"], gibibytes * GIB
    row["real over predicted"] = real / predicted
    row["ok"] = real <= cap and predicted <= cap
    return row


def one_run(path: Path) -> dict[str, Any]:
    import torch

    from wan_core.engine import Session
    from wan_core.workflow import load_workflow

    workflow = load_workflow(path)
    torch.zeros(1, device="cuda")
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved()
    cap = workflow.memory.vram
    assert isinstance(cap, int)
    # what the driver keeps for the process is part of the budget
    torch.cuda.set_per_process_memory_fraction((cap - context) / total)
    notes: list[str] = []

    def listen(event: object) -> None:
        if type(event).__name__ == "Note":
            notes.append(str(event))

    with Session(cache=path.parent / "cache") as session:
        plan = session.plan(workflow)
        torch.cuda.reset_peak_memory_stats()
        result = session.run(plan, listen=listen)
        return {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "predicted peak": plan.peak,
            "real peak": torch.cuda.max_memory_reserved() + context,
            "allocated peak": torch.cuda.max_memory_allocated(),
            "context": context,
            "seconds": dict(result.seconds),
            "phases": {phase.name: phase.peak for phase in plan.phases},
            "placements": {
                f"{name}.{slot}": str(placement)[:200]
                for name, model in plan.models.items()
                for slot, placement in model.placements.items()
            },
            "notes": notes,
            "outputs": len(list(result.outputs[0].parent.glob("*.png"))),
        }


def show(row: dict[str, Any]) -> None:
    if "error" in row:
        print(f"{row['precision']} {row['budget GiB']:4g} GiB FAILED\n{row['error']}", flush=True)
        return
    print(
        f"{row['precision']} {row['budget GiB']:4g} GiB: predicted {row['predicted peak'] / GIB:6.2f}, real "
        f"{row['real peak'] / GIB:6.2f} (allocated {row['allocated peak'] / GIB:6.2f}, context "
        f"{row['context'] / GIB:4.2f}), {row['real over predicted']:.3f}; "
        f"{row['seconds'].get('total', 0):.0f} s, {row['outputs']} frames "
        f"{'ok' if row['ok'] else 'OVER THE BUDGET'}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
