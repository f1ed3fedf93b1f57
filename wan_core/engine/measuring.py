"""Measuring a machine for ``wan-core doctor --calibrate``: how fast it computes, moves, reads and writes.

Every measurement goes from small to large calls and stops where the next size would take longer than its
share of the time, so that a slow machine is not busy for an hour and a fast one is not judged by crumbs.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import attrs
import torch

from wan_core.config import cache_folder
from wan_core.engine.measured import (
    CALLS,
    CASES,
    Case,
    Work,
    elementwise,
    norms,
    small_calls,
)
from wan_core.planning.calibration import Calibration, Curve, identity
from wan_core.planning.machine import Machine

SECONDS = 60.0
MEASUREMENTS = 20.0  # that share the time on a GPU with three precisions
DTYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "bfloat16", "float16")}

PICTURES = ((96, 96), (832, 480))
FILE_BYTES = 2**28
BLOCK = 2**23
ROWS = 5

Progress = Callable[[str], object]


@attrs.frozen
class Clock:
    """Times calls on a device."""

    device: torch.device

    def once(self, work: Work) -> float:
        """Seconds of one call, until the device has done it."""
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return max(time.perf_counter() - start, 1e-9)

    def mean(self, work: Work, seconds: float) -> float:
        """Seconds of a call in a row of calls: the best of five rows that fill ``seconds``.

        The best, because what else runs on the machine can only slow a row down.
        """
        self.once(work)  # what is set up with the first call does not count
        first = self.once(work)
        count = max(1, min(1000, int(seconds / ROWS / first)))

        def row() -> None:
            for _ in range(count):
                work()

        if first > seconds:
            return first
        return min(self.once(row) / count for _ in range(ROWS))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def curve(clock: Clock, cases: Iterable[Case], seconds: float, room: int) -> Curve:
    """Rates of the cases, from small to large, as far as time and memory (``room`` bytes) go."""
    cases = list(cases)
    points: list[tuple[float, float]] = []
    share = seconds / len(cases)
    longest = 0.0
    for size, units, needed, make in cases:
        if points and (units / points[-1][1] > 3 * share or needed > room):
            continue
        try:
            longest = clock.mean(make(), share)
        except (RuntimeError, MemoryError):
            # a size or a precision that this device can't do: what it can is enough to go by
            if not points:
                raise
            break
        points.append((size, units / longest))
    return tuple(points)


@torch.inference_mode()
def measure(
    machine: Machine, *, seconds: float = SECONDS, tell: Progress = lambda _: None
) -> Calibration:
    """Measure the device of ``machine`` for about ``seconds``.

    Args:
        tell: hears in a few words what is measured now.
    """
    device = torch.device(machine.device)
    clock = Clock(device)
    share = seconds / MEASUREMENTS
    room = (machine.ram if machine.vram is None else machine.vram) // 2
    tell("imports")
    imports = import_seconds()
    rates: dict[str, dict[str, Curve]] = {}
    for name in DTYPES[device.type]:
        dtype = getattr(torch, name)
        for what, cases in CASES.items():
            tell(f"{what.replace('_', ' ')} in {name}")
            # a precision that the device can't do is left out
            with suppress(RuntimeError, MemoryError):
                found = curve(clock, cases(device, dtype), share, room)
                rates.setdefault(what, {})[name] = found
    tell("memory")
    moved = curve(clock, elementwise(device), share, room)
    norm = curve(clock, norms(device), share, room)
    call = clock.mean(small_calls(device), share / 2) / CALLS
    upload = None
    if device.type == "cuda":
        host = torch.empty(2**26, dtype=torch.uint8)
        upload = host.nbytes / clock.mean(lambda: host.to(device), share / 2)
    tell("disk")
    disk, cached = disk_rates(cache_folder(), share)
    tell("video encoding")
    title, version, threads = identity(machine)
    return Calibration(
        device=title,
        torch=version,
        threads=threads,
        measured=time.strftime("%Y-%m-%d %H:%M"),
        call=call,
        norm=norm,
        elementwise=moved,
        encoding=encoding_rates(share),
        disk=disk,
        cached=cached,
        upload=upload,
        imports=imports,
        **{what: rates.get(what, {}) for what in CASES},
    )


def import_seconds() -> dict[str, float]:
    """Seconds of the first import of the libraries that a run imports; only what isn't there yet."""
    found: dict[str, float] = {}
    if "transformers" not in sys.modules:
        start = time.perf_counter()
        # a broken package is another check's finding
        with suppress(Exception):
            getattr(import_module("transformers"), "UMT5EncoderModel")  # noqa: B009
            found["transformers"] = time.perf_counter() - start
    return found


def disk_rates(folder: Path, seconds: float) -> tuple[float | None, float | None]:
    """Bytes per second of a file read cold and once more from the page cache; None when it can't be.

    Where the system does not let go of its cache (macOS, some file systems), cold is as fast as warm.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="calibration-") as file:
            block = os.urandom(BLOCK)
            end = time.perf_counter() + seconds
            while file.tell() < FILE_BYTES and time.perf_counter() < end:
                file.write(block)
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_DONTNEED)
            cold = _read(Path(file.name))
            warm = _read(Path(file.name))
    except OSError:
        return None, None
    return size / cold, size / warm


def _read(path: Path) -> float:
    start = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(BLOCK):
            pass
    return max(time.perf_counter() - start, 1e-9)


def encoding_rates(seconds: float) -> Curve | None:
    """Pixels per second of writing an mp4 by pixels of a frame; None when there is no encoder."""
    try:
        from wan_core.media import write_video
    except ImportError:
        return None
    points: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for width, height in PICTURES:
            start = time.perf_counter()
            try:
                film = _film(width, height, start + seconds / 2)
                frames = write_video(Path(folder) / "calibration.mp4", film, 16).frames
            except Exception:
                return None
            taken = time.perf_counter() - start
            points.append((float(width * height), frames * width * height / taken))
    return tuple(points)


def _film(width: int, height: int, until: float) -> Iterator[torch.Tensor]:
    """Chunks of 4 frames: a ring of light that moves over a soft ground, for at most 2 s."""
    x = torch.linspace(-1, 1, width)
    y = torch.linspace(-1, 1, height).unsqueeze(1)
    for index in range(20):
        moved = [(0.02 * (4 * index + frame)) for frame in range(4)]
        rings = torch.stack([torch.sin(12 * ((x - m) ** 2 + y**2)) for m in moved])
        yield torch.stack((rings, rings * 0.5, -rings), dim=1)
        if index >= 4 and time.perf_counter() > until:
            return
