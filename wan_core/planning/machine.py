"""What this machine offers: the device, its memory, the precision that suits it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import attrs

from wan_core.contract.errors import ResourceError, WorkflowError

DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


@attrs.frozen
class Machine:
    """A device and the memory that is free now, in bytes (``vram`` None on the CPU).

    What torch has reserved of a GPU in this process counts as free: it can be given back.

    Attributes:
        whole_ram, whole_vram: all that there is; None = not known.
    """

    device: str
    title: str
    ram: int
    vram: int | None = None
    whole_ram: int | None = None
    whole_vram: int | None = None


def look(device: str, *, where: str = "") -> Machine:
    """Resolve ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` to a machine.

    torch is imported only when the answer depends on it.

    Raises:
        WorkflowError: the device's name is not one of these.
        ResourceError: the device is not there.
    """
    kind = device.partition(":")[0]
    if not DEVICE.fullmatch(device):
        raise WorkflowError(
            f'there is no device "{device}"',
            where=where,
            remedy="known are auto, cpu, cuda, cuda:N",
        )
    if kind == "cpu" or (kind == "auto" and not has_nvidia_driver()):
        return _cpu()
    import torch

    if not torch.cuda.is_available():
        if kind == "auto":
            return _cpu()
        raise ResourceError(
            f"device {device} was asked for, but torch {torch.__version__} sees no CUDA device",
            where=where,
            remedy="install a CUDA build of torch and a driver, or use device cpu",
        )
    index = int(device.partition(":")[2] or 0) if kind == "cuda" else 0
    if index >= torch.cuda.device_count():
        raise ResourceError(
            f"device {device} was asked for, but this machine has {torch.cuda.device_count()}",
            where=where,
        )
    free, whole = torch.cuda.mem_get_info(index)
    free += torch.cuda.memory_reserved(index)
    title = torch.cuda.get_device_name(index)
    return Machine(f"cuda:{index}", title, free_ram(), free, whole_ram(), whole)


def beside(machine: Machine, held: int) -> Machine:
    """The machine for whoever holds so many bytes of its host memory, and would give them back."""
    ram = machine.ram + held
    return attrs.evolve(
        machine, ram=ram if machine.whole_ram is None else min(ram, machine.whole_ram)
    )


def _cpu() -> Machine:
    return Machine("cpu", f"CPU, {os.cpu_count()} cores", free_ram(), whole_ram=whole_ram())


def whole_ram() -> int:
    """Memory of the machine in bytes; the control group's bound counts."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bound = _bound()
    return whole if bound is None else min(whole, bound)


def free_ram() -> int:
    """Memory that a new process can have, in bytes; the control group's bound counts."""
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines() if _linux() else ():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    if not available:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    bound = _bound()
    return available if bound is None else min(available, bound)


def _bound() -> int | None:
    """What the control group may have, in bytes; None = no bound."""
    bound = Path("/sys/fs/cgroup/memory.max")
    text = bound.read_text().strip() if bound.exists() else ""
    return int(text) if text.isdigit() else None


def precision(asked: str, device: str) -> str:
    """The dtype's name: ``auto`` is float32 on the CPU (the reference) and bfloat16 on a GPU."""
    if asked != "auto":
        return asked
    return "float32" if device == "cpu" else "bfloat16"


def has_cuda() -> bool:
    """Whether torch can use a GPU of this machine."""
    import torch

    return torch.cuda.is_available()


def is_cuda(device: str) -> bool:
    """Whether that names a GPU."""
    return DEVICE.fullmatch(device) is not None and device.startswith("cuda")


def has_nvidia_driver() -> bool:
    """Whether this machine has an NVIDIA driver, whatever torch can do with it."""
    # a look at two files spares everybody without a GPU the import of torch
    return Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists()


def _linux() -> bool:
    return Path("/proc/meminfo").exists()
