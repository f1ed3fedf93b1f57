"""What keeping a run's state costs: one save of each solver's state, written to the disk of the cache folder.

    python benchmarks/resume.py [--json] [--size 832x480x81] [--channels 16] [--stride 8] [--runs 10]

Prints bytes and the median time of a save after a few steps, syncing to disk included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from wan_core.config import cache_folder
from wan_core.contract.lazy import resolve
from wan_core.engine.safely import read_tensors, write_tensors
from wan_core.sampling import SOLVERS, SamplerState, noise_sources, start_latents

NAMES = ("unipc", "dpm++", "euler", "er_sde", "sa_ode_stable")


def measure(name: str, shape: tuple[int, ...], device: str, runs: int) -> dict[str, float]:
    """Bytes and milliseconds of a save and of reading it back."""
    described = next(one for one in SOLVERS if one.name == name)
    setup = resolve(described.build)(20, 5.0)
    noise = noise_sources(0, ["video"])
    latents = start_latents(setup.schedule, {"video": shape}, noise, device=device)
    state = SamplerState.start(setup, latents, noise)
    for index in range(3):
        moved = state.solvers["video"].step(
            0.1 * state.latents["video"], state.latents["video"], index
        )
        state.latents["video"] = moved
    saves, reads = [], []
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        path = Path(folder) / "state.safetensors"
        for _ in range(runs):
            start = time.perf_counter()
            write_tensors(path, state.snapshot(), {"step": "3", "steps": "20"})
            saves.append(1000 * (time.perf_counter() - start))
            start = time.perf_counter()
            read_tensors(path)
            reads.append(1000 * (time.perf_counter() - start))
        size = path.stat().st_size
    return {
        "bytes": size,
        "save_ms": statistics.median(saves),
        "slowest_save_ms": max(saves),
        "read_ms": statistics.median(reads),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--size", default="832x480x81", help="width x height x frames")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    width, height, frames = map(int, options.size.split("x"))
    stride = options.stride
    shape = (1, options.channels, (frames - 1) // 4 + 1, height // stride, width // stride)
    figures = {name: measure(name, shape, options.device, options.runs) for name in NAMES}
    print(json.dumps({"shape": shape, "device": options.device, "states": figures}))
    if not options.json:
        print(f"\n{'solver':<16}{'MB':>8}{'save':>10}{'slowest':>10}{'read':>10}")
        for name, one in figures.items():
            size, save, slowest, read = one.values()
            print(f"{name:<16}{size / 1e6:>8.1f}{save:>7.0f} ms{slowest:>7.0f} ms{read:>7.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
