"""How long ``wan-core --help`` takes, from starting Python to its exit.

    python benchmarks/help_time.py [--json] [--runs 10]

Prints the median wall time of fresh processes; exits 1 when it is above the limit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

LIMIT = 0.3
COMMANDS = (("--help",), ("--version",), ("plugins",), ("models",))


def wall_time(arguments: tuple[str, ...]) -> float:
    """Seconds that ``wan-core ARGUMENTS`` takes in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "wan_core", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--runs", type=int, default=10)
    options = parser.parse_args()
    times = {
        " ".join(arguments): [wall_time(arguments) for _ in range(options.runs)]
        for arguments in COMMANDS
    }
    figures = {
        name: {"median": statistics.median(taken), "slowest": max(taken)}
        for name, taken in times.items()
    }
    within = figures["--help"]["median"] <= LIMIT
    print(json.dumps({"seconds": figures, "limit": {"--help": LIMIT}, "within_limit": within}))
    if not options.json:
        print(f"\n{'wan-core …':<12}{'median':>10}{'slowest':>10}")
        for name, figure in figures.items():
            print(f"{name:<12}{figure['median']:>8.3f} s{figure['slowest']:>8.3f} s")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
