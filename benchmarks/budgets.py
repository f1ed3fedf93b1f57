"""Whole runs of a 14 B under budgets that cannot hold it: text, steps with guidance, decoding, a file.

    python benchmarks/budgets.py --out result.json

Files of random weights in full size (UMT5-XXL, Wan 2.1 T2V 14B, its VAE) are written first. Each run is a
process of its own whose allocator is capped at the budget, so that a plan that promises too little fails.
Printed: the predicted peak, the real one (what the allocator reserved, and the context), and the time; and for
each phase, what was predicted beside the peak of its task. A run that fails or takes too long stops no other.
Exits 1 unless all runs keep to their budgets and the predictions are within 5 %.

Needs an NVIDIA GPU, 42 GB for files (``--folder``, in memory by default), 80 GB of RAM beside them, and
wan-core with all that it depends on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import attrs
from side_by_side import options_of, write

GIB = 2**30
CLOSE = 0.05
"""How far a prediction may be off."""
TASKS = {"text": "encoding", "sampling": "sampling", "decoding": "decoding and writing"}
"""Part of a prediction -> the task in which it happens."""
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
    result: dict[str, Any] = {"runs": []}
    for precision in options.precisions:
        problem = write_files(options.folder, precision)
        for gibibytes in options.budgets:
            row: dict[str, Any] = {"precision": precision, "budget GiB": gibibytes}
            row |= {"ok": False, "error": problem} if problem else {}
            row = row if problem else row | in_a_process(options, precision, gibibytes)
            result["runs"].append(row)
            result |= row.pop("environment", {})
            show(row)
            write(result, options.out)
        if not options.keep:  # makes room for the next
            (options.folder / f"{precision}.safetensors").unlink(missing_ok=True)
    return 0 if all(row["ok"] for row in result["runs"]) else 1


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/wan-core-budgets"))
    parser.add_argument("--budgets", type=float, nargs="+", default=[8, 12, 16, 24], help="GiB")
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "fp8"], default=["bf16", "fp8"])
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=832)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--more", default="", help="a line for the table [model]")
    parser.add_argument("--seconds", type=float, default=540, help="that a run may take")
    parser.add_argument("--keep", action="store_true", help="do not remove the transformers' files")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_files(folder: Path, precision: str) -> str:
    """What went wrong, "" = nothing."""
    for name, (manifest, stored) in FILES.items():
        path = folder / name
        if name in ("umt5.safetensors", "vae.safetensors", f"{precision}.safetensors"):
            if path.exists():
                continue
            script, part = Path(__file__).with_name("fake_checkpoint.py"), path.with_suffix(".part")
            command = [sys.executable, str(script), manifest, str(part)]
            command += ["--precision", stored, "--device", "cuda"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                part.unlink(missing_ok=True)
                return f"{name} could not be written: {done.stderr[-2000:]}"
            part.rename(path)
    return ""


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
    row: dict[str, Any] = {"ok": False}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=options.seconds
        )
    except subprocess.TimeoutExpired:
        return row | {"error": f"it took more than {options.seconds:.0f} s"}
    row["process seconds"] = time.perf_counter() - start
    try:
        row |= json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # it ended before it could say anything
        return row | {"error": f"exit code {done.returncode}\n{done.stderr[-2000:]}"}
    if "error" in row:
        return row
    real, predicted, cap = row["real peak"], row["predicted peak"], gibibytes * GIB
    row["real over predicted"] = real / predicted
    row["within the budget"] = real <= cap and predicted <= cap
    row["ok"] = row["within the budget"] and abs(real / predicted - 1) <= CLOSE
    return row


# In the process of one run


@attrs.frozen
class Peak:
    """The highest of each, in bytes.

    Attributes:
        reserved, allocated: by torch.
        context: what the driver and libraries hold beside that; it grows as they load code.
    """

    reserved: int = 0
    allocated: int = 0
    context: int = 0

    @property
    def real(self) -> int:
        return self.reserved + self.context

    def and_(self, other: Peak) -> Peak:
        """The highest of both."""
        pairs = zip(attrs.astuple(self), attrs.astuple(other), strict=True)
        return Peak(*(max(pair) for pair in pairs))

    def to_dict(self) -> dict[str, int]:
        return {**attrs.asdict(self), "real": self.real}


@attrs.define(eq=False)
class Peaks:
    """Peaks of memory, task by task, from the events of a run.

    Attributes:
        since: the peak since it was last called.
        tasks: ``"stage / task"`` -> its peak, which includes those of tasks within it.
        whole: of everything.
        notes: what the run said.
    """

    since: Callable[[], Peak]
    tasks: dict[str, Peak] = attrs.field(factory=dict)
    whole: Peak = attrs.field(factory=Peak)
    notes: list[str] = attrs.field(factory=list)
    _running: list[str] = attrs.field(factory=list)

    def __call__(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Note":
            self.notes.append(event.text)
        if kind not in ("TaskStarted", "TaskFinished"):
            return
        self.count()
        name = f"{event.stage} / {event.task}"
        if kind == "TaskStarted":
            self._running.append(name)
        elif name in self._running:
            self._running.remove(name)

    def count(self) -> None:
        """Take account of what happened since the last event."""
        peak = self.since()
        self.whole = self.whole.and_(peak)
        for name in self._running:
            self.tasks[name] = self.tasks.get(name, Peak()).and_(peak)

    def of_part(self, part: str) -> Peak | None:
        """The peak of the task of a predicted part, None where there is none."""
        task = TASKS.get(part.partition(",")[0])
        found = [peak for name, peak in self.tasks.items() if name.partition(" / ")[2] == task]
        return reduce(Peak.and_, found) if found else None


def one_run(path: Path) -> dict[str, Any]:
    """Peaks of a run whose allocator is capped; of one that fails, those until then, and why."""
    import torch
    from side_by_side import environment

    from wan_core.contract import WanCoreError
    from wan_core.engine import Session
    from wan_core.workflow import load_workflow

    def since() -> Peak:
        torch.cuda.synchronize()
        reserved, allocated = torch.cuda.max_memory_reserved(), torch.cuda.max_memory_allocated()
        free, total = torch.cuda.mem_get_info()
        context = total - free - torch.cuda.memory_reserved()
        torch.cuda.reset_peak_memory_stats()
        return Peak(reserved, allocated, context)

    cache = path.with_suffix(".cache")
    shutil.rmtree(cache, ignore_errors=True)  # every run encodes its texts
    row: dict[str, Any] = {}
    peaks = Peaks(since)
    # nothing is on the device before there is a session and a plan, as in a run by the command
    with Session(cache=cache) as session:
        plan = session.plan(load_workflow(path))
        row["predicted peak"] = plan.peak
        row["placements"] = {
            f"{name}.{slot}": str(placement)[:200]
            for name, model in plan.models.items()
            for slot, placement in model.placements.items()
        }
        torch.zeros(1, device="cuda")
        context, total = since().context, torch.cuda.mem_get_info()[1]
        cap = plan.workflow.memory.vram
        assert isinstance(cap, int)
        # what the driver keeps for the process is part of the budget
        torch.cuda.set_per_process_memory_fraction((cap - context) / total)
        try:
            result = session.run(plan, listen=peaks)
        except (WanCoreError, torch.OutOfMemoryError) as error:
            cause = str(error.__cause__ or "").partition("If reserved")[0]
            row["error"] = f"{type(error).__name__}: {error}" + (f" ({cause})" if cause else "")
        else:
            row["seconds"] = dict(result.seconds)
            row["outputs"] = len(list(result.outputs[0].parent.glob("*.png")))
    peaks.count()
    return row | {
        "environment": environment(),
        "real peak": peaks.whole.real,
        "allocated peak": peaks.whole.allocated,
        "context": peaks.whole.context,
        "context at first": context,
        "notes": peaks.notes,
        "tasks": {name: peak.to_dict() for name, peak in peaks.tasks.items()},
        "phases": [phase_of(phase, peaks) for phase in plan.phases],
    }


def phase_of(phase: Any, peaks: Peaks) -> dict[str, Any]:
    """A predicted phase beside the peak of its task; reserved memory also holds what earlier tasks left."""
    real = peaks.of_part(phase.part)
    return {
        "phase": phase.name,
        "weights": phase.weights,
        "activations": phase.activations,
        "context": phase.context,
        "predicted": phase.peak,
        "task": real.to_dict() if real else None,
    }


def show(row: dict[str, Any]) -> None:
    title = f"{row['precision']} {row['budget GiB']:4g} GiB"
    if "error" in row:
        print(f"{title}: FAILED, {row['error']}", flush=True)
    else:
        inside = "" if row["within the budget"] else "OVER THE BUDGET, "
        print(
            f"{title}: predicted {row['predicted peak'] / GIB:6.2f}, real "
            f"{row['real peak'] / GIB:6.2f} (allocated {row['allocated peak'] / GIB:6.2f}, context "
            f"{row['context'] / GIB:4.2f}), {row['real over predicted']:.3f}; "
            f"{row['process seconds']:.0f} s, {row['outputs']} frames "
            f"{'ok' if row['ok'] else f'{inside}NOT OK'}"
        )
    for one in row.get("phases", ()):
        real = ""
        if one["task"]:
            real = (
                f", real {one['task']['real'] / GIB:6.2f} (allocated "
                f"{one['task']['allocated'] / GIB:6.2f}, context {one['task']['context'] / GIB:4.2f})"
            )
        print(
            f"    {one['phase']:24} predicted {one['predicted'] / GIB:6.2f} (weights "
            f"{one['weights'] / GIB:6.2f}, work {one['activations'] / GIB:5.2f}, context "
            f"{one['context'] / GIB:4.2f}){real}"
        )
    for note in row.get("notes", ()):
        print(f"    note: {note}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
