"""How long it takes, and how much memory, to say what a checkpoint of 28 GB is.

    python benchmarks/identify.py [--json] [--runs 5]

The checkpoint is Wan 2.1 text to video, 14 B parameters in 16 bits and six shards, written as headers in
front of holes. Every figure is of fresh processes; exits 1 when a median is above its limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from math import prod
from pathlib import Path

from wan_core.models.wan.config import WanConfig
from wan_core.models.wan.files import expected_shapes

SECONDS, MEGABYTES = 0.2, 50
SHARDS = 6

# what a child prints: seconds, peak of memory above the start in bytes, whether torch was imported
IDENTIFY = """
import resource, sys, time
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
from wan_core.weights import identify, open_weights
import wan_core.weights.files, wan_core.weights.identity
before, start = peak(), time.perf_counter()
identify(open_weights(sys.argv[1]))
seconds = time.perf_counter() - start
print(seconds, peak() - before, "torch" in sys.modules)
"""
# exit code, peak of memory, seconds of processor time, whether torch was imported
COMMAND = """
import contextlib, io, resource, sys, time
with contextlib.redirect_stdout(io.StringIO()):
    from wan_core.cli import main
    code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(code, used.ru_maxrss * 1024, used.ru_utime + used.ru_stime, "torch" in sys.modules)
"""


def write_checkpoint(folder: Path) -> int:
    """Write the checkpoint and return its size in bytes."""
    shapes = expected_shapes(WanConfig(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40))
    weight_map: dict[str, str] = {}
    total = 0
    for shard in range(SHARDS):
        name = f"diffusion_pytorch_model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        header, position = {}, 0
        for tensor in list(shapes)[shard::SHARDS]:
            end = position + 2 * prod(shapes[tensor])
            header[tensor] = {
                "dtype": "BF16", "shape": shapes[tensor], "data_offsets": [position, end],
            }  # fmt: skip
            position, weight_map[tensor] = end, name
        text = json.dumps(header).encode()
        with (folder / name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + position)
        total += position
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    return total


def child(code: str, *arguments: str) -> list[str]:
    """What a fresh Python prints for ``code``, and its wall time in front."""
    timed = (
        "import subprocess, sys, time; s = time.perf_counter();"
        "d = subprocess.run([sys.executable, '-c', *sys.argv[1:]], check=True, capture_output=True, text=True);"
        "print(time.perf_counter() - s, d.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", timed, code, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.split()


def measure(folder: Path, runs: int) -> Mapping[str, float]:
    """Medians over fresh processes: seconds, and megabytes of memory."""
    inside = [child(IDENTIFY, str(folder)) for _ in range(runs)]
    inspect = [child(COMMAND, "inspect", str(folder)) for _ in range(runs)]
    version = [child(COMMAND, "--version") for _ in range(runs)]
    assert not any(run[-1] == "True" for run in (*inside, *inspect)), "torch was imported"

    def median(rows: list[list[str]], column: int, unit: float = 1) -> float:
        return statistics.median(float(row[column]) for row in rows) / unit

    return {
        "open and identify, s": median(inside, 1),
        "open and identify, MB more": median(inside, 2, 1e6),
        "wan-core inspect, s": median(inspect, 0),
        "wan-core inspect, CPU s": median(inspect, 3),
        "wan-core inspect, MB": median(inspect, 2, 1e6),
        "wan-core --version, s": median(version, 0),
        "wan-core --version, CPU s": median(version, 3),
        "wan-core --version, MB": median(version, 2, 1e6),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        size = write_checkpoint(Path(folder))
        figures = measure(Path(folder), options.runs)
    limits = {"open and identify, s": SECONDS, "open and identify, MB more": MEGABYTES}
    within = all(figures[name] <= limit for name, limit in limits.items())
    print(json.dumps({"bytes": size, "median": figures, "limits": limits, "within_limits": within}))
    if not options.json:
        print(f"\na checkpoint of {size / 1e9:.1f} GB in {SHARDS} shards")
        for name, figure in figures.items():
            print(f"{name:<30}{figure:>10.3f}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
