"""torch.compile: whether its tools are there, or, when asked, whether it works. Nothing needs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from wan_core.cli.checks.devices import names
from wan_core.cli.checks.finding import Finding, note, ok
from wan_core.cli.checks.software import import_torch

SECONDS = 60.0
COMPILERS = ("c++", "g++", "clang++")
PROGRAM = """
import sys, torch
def f(x):
    return torch.nn.functional.silu(x) * 2 + x
x = torch.linspace(-1, 1, 64, device=sys.argv[1])
assert torch.allclose(torch.compile(f)(x), f(x), atol=1e-5)
"""


def tools() -> Iterator[Finding]:
    """What torch.compile needs on each sort of device: Triton on a GPU, a C++ compiler on a CPU."""
    torch = import_torch()
    if torch is None:
        return
    if compiler := os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None):
        yield ok(f"cpu: torch.compile has a C++ compiler ({compiler})")
    else:
        yield note("cpu: torch.compile finds no C++ compiler", "install g++ to compile on the CPU")
    if len(names(torch)) > 1:
        if find_spec("triton"):
            yield ok("cuda: torch.compile has Triton")
        else:
            yield note("cuda: torch.compile finds no Triton", "pip install triton")


def trial(seconds: float = SECONDS) -> Iterator[Finding]:
    """Compile a function of one line, in a process of its own."""
    torch = import_torch()
    if torch is None:
        return
    for device in names(torch)[:2]:
        try:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, device],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            yield note(f"{device}: torch.compile took over {seconds:g} s", "do without it")
            continue
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            last = lines[-1][:200] if lines else f"exit code {done.returncode}"
            yield note(f"{device}: torch.compile fails ({last})", "do without it")
        else:
            yield ok(f"{device}: torch.compile works")
