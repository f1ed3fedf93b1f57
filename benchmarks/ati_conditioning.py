"""How long the conditioning edit of trajectories (wan-plugin-ati) takes, and its largest tensor.

    python benchmarks/ati_conditioning.py [--out FILE] [--tracks 20] [--threads 2] [--runs 20]

81 frames at 480p: latents of 21 x 60 x 104. Exits 1 when the median is above its limit, or a tensor larger
than frames x height x width x tracks and than the conditioning.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

# as the command line has it: threads that wait by spinning take the cores that others need
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

SECONDS = 0.5
FRAMES, HEIGHT, WIDTH = 21, 60, 104


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that anything makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--tracks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    wanted = parser.parse_args()
    from wan_plugin_ati.motion import edit

    torch.set_num_threads(wanted.threads)
    y = torch.randn(20, FRAMES, HEIGHT, WIDTH)
    tracks = torch.rand(4 * (FRAMES - 1) + 1, wanted.tracks, 4) * 2 - 1
    edit(y, tracks)
    times = []
    for _ in range(wanted.runs):
        start = time.perf_counter()
        edit(y, tracks)
        times.append(time.perf_counter() - start)
    with Largest() as seen:
        edit(y, tracks)
    # the conditioning itself is there however few tracks there are
    bound = max(FRAMES * HEIGHT * WIDTH * wanted.tracks, y.numel())
    figures = {
        "seconds": statistics.median(times),
        "slowest": max(times),
        "limit": SECONDS,
        "largest_tensor": seen.elements,
        "largest_allowed": bound,
        "threads": wanted.threads,
        "tracks": wanted.tracks,
    }
    if wanted.out:
        wanted.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(
        f"{figures['seconds'] * 1000:.1f} ms (slowest {figures['slowest'] * 1000:.1f}), limit {SECONDS} s"
    )
    print(f"largest tensor {seen.elements} elements, limit {bound}")
    return int(figures["seconds"] > SECONDS or seen.elements > bound)


if __name__ == "__main__":
    sys.exit(main())
