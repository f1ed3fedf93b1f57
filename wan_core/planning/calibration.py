"""What a machine has been measured to do: rates by size of the work, kept in the cache folder. No torch.

``wan-core doctor --calibrate`` measures them; planning turns work into seconds with them.
"""

from __future__ import annotations

import bisect
import json
import math
import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs

from wan_core.config import cache_folder
from wan_core.media.files import file_errors, replacing
from wan_core.planning.machine import Machine

FORMAT = 1
MOST_BYTES = 2**20  # of the file; one device takes about 3 kB
MOST_DEVICES = 64
MOST_POINTS = 64

Curve = tuple[tuple[float, float], ...]
"""Points ``(size of one call, units per second)``, by rising size."""

Curves = Mapping[str, Curve]


def _number(value: Any) -> float:
    # bool is an int to Python; outside these bounds lies no machine, but overflow
    if type(value) not in (int, float) or not 1e-30 <= value <= 1e30:
        raise ValueError
    return float(value)


def _curve(value: Any) -> Curve:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_POINTS:
        raise ValueError
    points = tuple((_number(size), _number(rate)) for size, rate in value)
    if sorted({size for size, _ in points}) != [size for size, _ in points]:
        raise ValueError
    return points


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 300:
        raise ValueError
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**20:
        raise ValueError
    return value


def _by_name(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > MOST_POINTS:
            raise ValueError
        return {_text(name): check(one) for name, one in value.items()}

    return checked


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _field(check: Callable[[Any], Any], **default: Any) -> Any:
    return attrs.field(metadata={"check": check}, **default)


@attrs.frozen
class Calibration:
    """Rates of one device under one torch. A call of a size between two points is interpolated.

    Attributes:
        device: its title (:func:`device_title`).
        torch: version of torch.
        threads: of torch on the CPU; 0 for a GPU.
        measured: when, as ``"2026-01-31 12:00"``.
        call: seconds of a call so small that only the calling counts.
        matmul, attention: dtype -> (FLOP of a call, FLOP per second).
        convolution, small_convolution, flat_convolution: 3 x 3 x 3 on much and on little (see
            ``vae.workspaces.SMALL_CONVOLUTION``), 3 x 3; dtype -> (channels, FLOP per second).
        norm: lengths of channels' vectors; (bytes read by a call, bytes per second).
        elementwise: (bytes read and written by a call, bytes per second).
        encoding: (pixels of a frame, pixels per second) of a video written as mp4.
        disk, cached: bytes per second read from a file, cold and from the page cache.
        upload: bytes per second from the host's memory to the device.
        imports: module -> seconds of its first import.
    """

    device: str = _field(_text)
    torch: str = _field(_text)
    threads: int = _field(_count)
    measured: str = _field(_text)
    call: float = _field(_number)
    matmul: Curves = _field(_by_name(_curve))
    attention: Curves = _field(_by_name(_curve))
    convolution: Curves = _field(_by_name(_curve))
    small_convolution: Curves = _field(_by_name(_curve))
    flat_convolution: Curves = _field(_by_name(_curve))
    norm: Curve = _field(_curve)
    elementwise: Curve = _field(_curve)
    encoding: Curve | None = _field(_optional(_curve), default=None)
    disk: float | None = _field(_optional(_number), default=None)
    cached: float | None = _field(_optional(_number), default=None)
    upload: float | None = _field(_optional(_number), default=None)
    imports: Mapping[str, float] = _field(_by_name(_number), factory=dict)

    @property
    def key(self) -> tuple[str, str, int]:
        """What it was measured on."""
        return (self.device, self.torch, self.threads)


def rate_at(curve: Curve, size: float) -> float:
    """The rate at ``size``: a straight line between the logarithms of two points, level outside."""
    place = bisect.bisect_left([point[0] for point in curve], size)
    if place in (0, len(curve)):
        return curve[min(place, len(curve) - 1)][1]
    (below, slow), (above, fast) = curve[place - 1], curve[place]
    share = math.log(size / below) / math.log(above / below)
    return math.exp(math.log(slow) + share * math.log(fast / slow))


def device_title(machine: Machine) -> str:
    """Tells one device from another that shares the cache folder, such as one in a network."""
    if machine.vram is not None:
        return machine.title
    return f"{_processor()} ({machine.title})"


def identity(machine: Machine) -> tuple[str, str, int]:
    """The key of this machine's calibration: device, version of torch, threads."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "none"
    return (device_title(machine), torch, _threads() if machine.vram is None else 0)


def calibration_file() -> Path:
    """Where calibrations are kept."""
    return cache_folder() / "calibration.json"


def read_calibrations() -> tuple[tuple[Calibration, ...], str]:
    """All calibrations that the file holds, and what is wrong with it ("" when nothing is).

    A file that can't be read or understood counts as empty: a calibration is soon measured again.
    """
    path = calibration_file()
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return (), ""
    except OSError as error:
        return (), f"{path} can't be read ({error.strerror})"
    try:
        if len(raw) > MOST_BYTES:
            raise ValueError
        content: Any = json.loads(raw)
        if content["format"] != FORMAT:
            return (), f"{path} was written by another version"
        entries = content["devices"]
        if not isinstance(entries, list) or len(entries) > MOST_DEVICES:
            raise ValueError
        return tuple(map(_read, entries)), ""
    except (ValueError, TypeError, KeyError, RecursionError):
        return (), f"{path} is damaged"


def find_calibration(machine: Machine) -> tuple[Calibration | None, str]:
    """This machine's calibration, and what is wrong with the file ("" when nothing is)."""
    found, problem = read_calibrations()
    wanted = identity(machine)
    return next((one for one in found if one.key == wanted), None), problem


def save_calibration(new: Calibration) -> Path:
    """Store ``new`` in the place of an earlier one of its device; the others stay.

    Raises:
        ResourceError: the disk is full, or the folder may not be written to.
        MediaError: another failure of the file system.
    """
    kept = [one for one in read_calibrations()[0] if one.key != new.key][-MOST_DEVICES + 1 :]
    content = {"format": FORMAT, "devices": [attrs.asdict(one) for one in (*kept, new)]}
    path = calibration_file()
    with replacing(path, may_replace=lambda _: True) as partial, file_errors(str(path)):
        partial.hidden.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def _read(entry: Any) -> Calibration:
    if not isinstance(entry, dict):
        raise ValueError
    fields = attrs.fields(Calibration)
    return Calibration(**{f.name: f.metadata["check"](entry[f.name]) for f in fields})


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()[:100]
    except (OSError, UnicodeDecodeError):
        pass
    return platform.processor() or platform.machine()


def _threads() -> int:
    """Threads that torch will use, without asking it."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdecimal() and 0 < int(stated) < 2**16:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
