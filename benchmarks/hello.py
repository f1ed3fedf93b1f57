"""What the first command of the README takes: ``wan-core run examples/hello.toml``.

    python benchmarks/hello.py [--json] [WORKFLOW]

Prints wall time and the highest memory of the process with all its children; exits 1 when either is
above the limit. The video goes to a temporary folder and the caches start empty.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

MAX_SECONDS = 30.0
MAX_BYTES = 2_000_000_000
ROOT = Path(__file__).resolve().parent.parent


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children, now."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def measure(workflow: Path, folder: Path) -> tuple[float, int, str]:
    """Wall time in seconds, peak memory in bytes, and what the run printed.

    Raises:
        RuntimeError: the run failed.
    """
    command = [sys.executable, "-m", "wan_core", "run", str(workflow)]
    start = time.perf_counter()
    run = subprocess.Popen(
        [*command, "-o", str(folder / "hello.mp4")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "WAN_CORE_CACHE": str(folder / "cache")},
    )
    process = psutil.Process(run.pid)
    peak = 0
    while run.poll() is None:
        try:
            peak = max(peak, resident_bytes(process))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    printed = run.communicate()[0]
    if run.returncode != 0:
        raise RuntimeError(f"the run failed with exit code {run.returncode}:\n{printed}")
    return seconds, peak, printed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("workflow", nargs="?", type=Path, default=ROOT / "examples" / "hello.toml")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak, printed = measure(options.workflow, Path(folder))
    within = seconds <= MAX_SECONDS and peak <= MAX_BYTES
    figures = {
        "workflow": options.workflow.name,
        "cores": os.cpu_count(),
        "seconds": round(seconds, 2),
        "peak_bytes": peak,
        "limits": {"seconds": MAX_SECONDS, "peak_bytes": MAX_BYTES},
        "within_limits": within,
    }
    print(json.dumps(figures))
    if not options.json:
        print(f"\n{printed.rstrip()}\n")
        print(f"{'':<12}{'measured':>10}{'limit':>10}")
        print(f"{'wall time':<12}{seconds:>8.1f} s{MAX_SECONDS:>8.0f} s")
        print(f"{'peak memory':<12}{peak / 1e9:>7.2f} GB{MAX_BYTES / 1e9:>7.0f} GB")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
