"""Variables of the environment that change what a run does, and what the terminal can show."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from wan_core.cli.checks.finding import Finding, note, ok
from wan_core.config import NO_HOME, home_folder
from wan_core.contract.errors import nearest
from wan_core.contract.options import show

OURS = ("WAN_CORE_CACHE", "WAN_CORE_CONFIG", "WAN_CORE_DISABLE", "WAN_CORE_MODELS")
OTHERS = (
    "CUDA_VISIBLE_DEVICES", "CXX", "HF_HOME", "HF_HUB_OFFLINE", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR",
)  # fmt: skip
SLOW = {
    "CUDA_LAUNCH_BLOCKING": "makes every call wait for the GPU",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "asks the driver for every tensor",
}


def variables(environment: Mapping[str, str] = os.environ, cores: int = 0) -> Iterator[Finding]:
    """What is set, and what of it does harm."""
    known = [name for name in (*OURS, *OTHERS) if environment.get(name)]
    for name in sorted(environment):
        if name.startswith("WAN_CORE_") and name not in OURS:
            hint = nearest(name, OURS)
            yield note(f"{name} means nothing to wan-core", hint or f"unset {name}")
    for name, effect in SLOW.items():
        if environment.get(name, "0") not in ("", "0"):
            yield note(f"{name} {effect}, which is slow", f"unset {name}")
    if environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield note("CUDA_VISIBLE_DEVICES hides all GPUs", "unset CUDA_VISIBLE_DEVICES")
    threads, cores = environment.get("OMP_NUM_THREADS", ""), cores or os.cpu_count() or 1
    if threads.isdecimal() and not cores / 2 <= int(threads) <= cores:
        yield note(
            f"OMP_NUM_THREADS is {show(threads)} on {cores} cores: slow on the CPU",
            "unset OMP_NUM_THREADS, unless other programs need the cores",
        )
    if home_folder() == NO_HOME:
        yield note(
            "this user has no home folder, and so neither configuration nor cache",
            "set HOME to a folder that may be written to",
        )
    if (home := environment.get("HF_HOME")) and not os.path.isdir(os.path.expanduser(home)):  # noqa: PTH111, PTH112 (these never raise)
        yield note(f"HF_HOME names a folder that is not there ({show(home)})", "correct HF_HOME")
    if known:
        yield ok("set are " + ", ".join(f"{name}={show(environment[name])}" for name in known))
    else:
        yield ok("no variable is set that changes a run")


def terminal(encoding: str | None = None) -> Iterator[Finding]:
    """Text in any language can be printed."""
    name = (encoding or getattr(sys.stdout, "encoding", None) or "unknown").lower()
    if name.replace("-", "").replace("_", "") == "utf8":
        yield ok("texts are printed as UTF-8")
    else:
        remedy = "set LANG to a UTF-8 locale such as C.UTF-8, or PYTHONUTF8=1"
        yield note(f"texts are printed as {show(name)}: other letters come out as ?", remedy)
