"""torch.compile in runs: which components, and where what it makes is kept."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import torch

from wan_core.config import cache_folder
from wan_core.contract.text import duration
from wan_core.memory import Compiling, compile_units, compiling_of, stack_of

FOLDER = "compiled"
VARIABLES = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}
"""What torch and Triton read -> folder of theirs in ours."""

_OURS = re.compile(r"[\w.+]+(-[\w.+]+){3}", re.ASCII)
_set: dict[str, str] = {}


def compiled(component: Any, device: torch.device) -> bool:
    """Let a component's units be compiled when they are called. False when it has none."""
    stack = stack_of(component)
    if stack is None:
        return False
    use_cache(device)
    compile_units(stack)
    return True


@attrs.define(eq=False)
class Compiled:
    """What compiling a component costs one run: the component may have been compiled by an earlier one.

    Attributes:
        compiling: counts on while the run goes on.
        graphs, seconds, failure: as they were when the run began to use the component.
    """

    compiling: Compiling
    graphs: int
    seconds: float
    failure: str

    @classmethod
    def of(cls, component: Any, tell: Callable[[str, str], None]) -> Compiled | None:
        """For a component whose units are compiled, else None; ``tell`` hears of it from now on."""
        stack = stack_of(component)
        found = compiling_of(stack) if stack else None
        if found is None:
            return None
        found.tell = tell
        return cls(found, found.graphs, found.seconds, found.failure)

    def summary(self) -> str:
        """One line for people, "" when there is nothing to say that was not said."""
        if self.failure:
            return f"runs without torch.compile, which failed before: {self.failure}"
        graphs = self.compiling.graphs - self.graphs
        if self.compiling.failure or not graphs:
            return ""
        seconds = duration(self.compiling.seconds - self.seconds)
        return f"{graphs} graph{'s' if graphs > 1 else ''} compiled in {seconds}"


def use_cache(device: torch.device) -> None:
    """Let what is compiled be kept in :func:`compile_cache`, unless the user says where.

    Folders of other versions are deleted when one is made: what is in them is of no use any more.
    """
    folder = compile_cache(device)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        usable = False
    else:
        usable = os.access(folder, os.W_OK)
    if not usable:  # torch has a folder of its own
        return
    for variable, name in VARIABLES.items():
        if os.environ.get(variable, "") in ("", _set.get(variable), _own_of_torch()):
            os.environ[variable] = _set[variable] = str(folder / name)
    if not made or folder.parent.is_symlink():
        return
    with suppress(OSError):
        of_these_versions = "-".join(_versions()) + "-"
        for other in folder.parent.iterdir():
            old = _OURS.fullmatch(other.name) and not other.name.startswith(of_these_versions)
            if old and not other.is_symlink():
                shutil.rmtree(other, ignore_errors=True)


def _own_of_torch() -> str:
    """What torch writes into the variable when the compiler is imported, which may be before us."""
    module = sys.modules.get("torch._inductor.runtime.cache_dir_utils")
    return str(module.default_cache_dir()) if module else ""


def compile_cache(device: torch.device) -> Path:
    """``<cache>/compiled/<torch>-<Triton>-<wan-core>-<device>``, in the folder of :func:`cache_folder`."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return cache_folder() / FOLDER / "-".join((*_versions(), _plain(name)))


def _versions() -> list[str]:
    versions = [str(torch.__version__)]
    for package in ("triton", "wan-core"):
        try:
            versions.append(metadata.version(package))
        except metadata.PackageNotFoundError:
            versions.append("none")
    return list(map(_plain, versions))


def _plain(text: str) -> str:
    """Without what means something in a path, or separates the parts of the name."""
    return re.sub(r"[^A-Za-z0-9.+]+", "_", text) or "none"
