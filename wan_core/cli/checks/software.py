"""Python, torch and the other packages: there, and of a version that fits."""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import wan_core
from wan_core.cli.checks.finding import Finding, ok, problem
from wan_core.hookspecs import ENTRY_POINT_GROUP
from wan_core.planning.machine import has_nvidia_driver
from wan_core.plugins import brief

PYTHON = (3, 11)
TORCH = (2, 11)
DRIVER = Path("/proc/driver/nvidia/version")


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Iterator[Finding]:
    """Python is new enough."""
    text = f"Python {'.'.join(map(str, version))} on {platform.system()} {platform.machine()}"
    if version[:2] < PYTHON:
        yield problem(text, "install Python {}.{} or newer".format(*PYTHON))
    else:
        yield ok(text)


def import_torch() -> Any:
    """torch, or None where it can't be imported: :func:`torch_build` says why."""
    try:
        return import_module("torch")
    except (Exception, SystemExit):
        return None


def torch_build() -> Iterator[Finding]:
    """torch can be imported, is new enough, and was built for the device of this machine."""
    try:
        torch: Any = import_module("torch")
    except (Exception, SystemExit) as error:
        yield problem(f"torch can't be imported ({brief(error)})", "install torch 2.11 or newer")
        return
    version = str(torch.__version__)
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < TORCH:
        yield problem(f"torch {version} is too old", "install torch {}.{} or newer".format(*TORCH))
    cuda = torch.version.cuda
    hip = getattr(torch.version, "hip", None)
    if not has_nvidia_driver():
        built = (
            f"built for CUDA {cuda}" if cuda else f"built for ROCm {hip}" if hip else "CPU build"
        )
        yield ok(f"torch {version}, {built}; this machine has no NVIDIA driver")
    elif not (cuda or hip):
        yield problem(
            f"torch {version} is a CPU build, but this machine has an NVIDIA driver",
            "install a CUDA build of torch (pytorch.org says how)",
        )
    elif not torch.cuda.is_available():
        yield problem(
            f"torch {version} is built for CUDA {cuda}, but can't use the driver "
            f"({_why_not(torch)})",
            "update the NVIDIA driver, or install a torch built for an older CUDA",
        )
    else:
        yield ok(f"torch {version}, built for CUDA {cuda}")


def _why_not(torch: Any) -> str:
    known = re.search(r"\b\d{3}\.[\d.]+\b", DRIVER.read_text()) if DRIVER.exists() else None
    version = f"driver {known.group()}" if known else "driver of unknown version"
    try:
        torch.cuda.init()
    except Exception as error:
        return f"{version}: {brief(error)[:200]}"
    return f"{version}; no device is visible"


def packages(
    requirements: Callable[[], dict[str, list[str]]] | None = None,
    version: Callable[[str], str] = metadata.version,
) -> Iterator[Finding]:
    """Everything that the core and the plugins require is there and of a version that fits."""
    wanted = (requirements or required)()
    wrong = 0
    for owner, lines in wanted.items():
        for line in lines:
            if finding := _look_at(line, owner, version):
                wrong += 1
                yield finding
    if not wrong:
        yield ok(f"everything that {' and '.join(wanted)} need is there")


def required() -> dict[str, list[str]]:
    """Distribution -> its requirements, for wan-core and whatever brings a plugin."""
    points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    names = dict.fromkeys(["wan-core", *(p.dist.name for p in points if p.dist)])
    found: dict[str, list[str]] = {}
    for name in names:
        try:
            found[name] = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            found[name] = _of_source()
    return found


def _of_source() -> list[str]:
    """The requirements in ``pyproject.toml``, when the package runs from its source folder."""
    page = Path(wan_core.__file__).parents[1] / "pyproject.toml"
    if not page.exists():
        return []
    content = tomllib.loads(page.read_text(encoding="utf-8"))
    dependencies: list[str] = content["project"]["dependencies"]
    return dependencies


def _look_at(line: str, owner: str, version: Callable[[str], str]) -> Finding | None:
    name, allowed = _parse(line)
    if name is None:
        return None
    remedy = f"pip install '{line.partition(';')[0].strip()}'"
    try:
        found = version(name)
    except metadata.PackageNotFoundError:
        return problem(f"{name}, which {owner} requires, is not installed", remedy)
    if allowed is None:
        return None
    if not allowed(found):
        return problem(f"{name} is {found}, but {owner} requires {line.partition(';')[0]}", remedy)
    return None


def _parse(line: str) -> tuple[str | None, Callable[[str], bool] | None]:
    """Name and test of version; no name for what belongs to an extra or to another platform."""
    try:
        requirements = import_module("packaging.requirements")
    except ImportError:  # it comes with torch and transformers, of which none may be there
        if "extra ==" in line:
            return None, None
        match = re.match(r"[A-Za-z0-9._-]+", line)
        return (match.group() if match else None), None
    asked = requirements.Requirement(line)
    if asked.marker and not asked.marker.evaluate({"extra": ""}):
        return None, None
    return asked.name, lambda found: asked.specifier.contains(found, prereleases=True)
