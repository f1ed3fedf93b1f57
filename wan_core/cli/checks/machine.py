"""Memory and disk of the machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from wan_core.cli.checks.finding import Finding, note, ok, problem
from wan_core.config import cache_folder
from wan_core.memory import gigabytes
from wan_core.planning.machine import free_ram

SMALL_RAM = 2 * 10**9
SHARED = Path("/dev/shm")
SMALL_SHARED = 2**26  # what a container gets unless it is told otherwise
BOUNDS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
SMALL_DISK = 2 * 10**9
NO_DISK = 10**8


def memory(shared: Path = SHARED) -> Iterator[Finding]:
    """RAM that a run can have, the bound of a container, shared memory."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bound = _bound(total)
    free = min(free_ram(), bound or total)
    text = f"{gigabytes(free)} of {gigabytes(total)} RAM are free"
    if bound:
        text += f", a container may have {gigabytes(bound)}"
    if free < SMALL_RAM:
        yield note(text, "end other programs: only the bundled model fits")
    else:
        yield ok(text)
    if shared.exists():
        size = shutil.disk_usage(shared).total
        if size <= SMALL_SHARED:
            text = f"{shared} has only {gigabytes(size)}, which torch.compile may fill"
            yield note(text, "start the container with --shm-size=1g")


def _bound(total: int) -> int | None:
    """The control group's bound in bytes, where it is less than the machine has."""
    for path in BOUNDS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < total:
            return int(text)
    return None


def disk(folders: Mapping[str, Path] | None = None) -> Iterator[Finding]:
    """Space for the caches, the videos (taken to be written here) and temporary files."""
    usual = {
        "cache": cache_folder(),
        "this folder": Path.cwd(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    for title, folder in (usual if folders is None else folders).items():
        existing = next(f for f in (folder, *folder.absolute().parents) if f.exists())
        free = shutil.disk_usage(existing).free
        text = f"{title}: {gigabytes(free)} free in {folder}"
        if not os.access(existing, os.W_OK | os.X_OK):
            yield problem(f"{title}: {existing} may not be written to", "change its permissions")
        elif free < NO_DISK:
            yield problem(text, "free some space")
        elif free < SMALL_DISK:
            yield note(text, "free some space")
        else:
            yield ok(text)
