"""How much memory a run may take: what the workflow states, else what is free less a margin."""

from __future__ import annotations

import attrs

from wan_core.planning.machine import Machine
from wan_core.planning.predict import CONTEXT
from wan_core.workflow import MemorySpec

__all__ = ["Bounds", "bounds_of"]

MARGIN = 2**28
"""Bytes that are left free at least: a desktop goes on drawing, predictions are not exact."""
MARGIN_SHARE = 50
"""Likewise: one part in so many of what is free."""


@attrs.frozen
class Bounds:
    """Bytes that a run may take.

    Attributes:
        vram: of the GPU, with what CUDA takes itself; None where none computes.
        ram: of the host, all together.
        stated_vram, stated_ram: what the workflow says; None = nothing.
        host: of the host for components that are swapped: as stated, else no more than half of all, which is
            what may be pinned. The rest of them lies in files.
    """

    vram: int | None
    ram: int
    stated_vram: int | None = None
    stated_ram: int | None = None
    host: int = 0

    def allocatable(self, machine: Machine) -> int | None:
        """What components and their work may take of a machine's memory as the workflow states; None = all."""
        if machine.vram is None:
            return self.stated_ram
        return None if self.stated_vram is None else max(0, self.stated_vram - CONTEXT)


def bounds_of(memory: MemorySpec, machine: Machine) -> Bounds:
    """The bounds of a workflow on a machine.

    A stated bound above what is free holds as far as there is memory.
    """
    whole = machine.whole_ram or machine.ram
    stated, free = _bytes(memory.ram, whole), _less_margin(machine.ram)
    ram = free if stated is None else min(stated, free)
    host = min(ram, whole // 2) if stated is None else ram
    if machine.vram is None:
        return Bounds(None, ram, None, stated, host)
    vram = _bytes(memory.vram, machine.whole_vram or machine.vram)
    # what is free was asked of CUDA, which has its context by then
    free = _less_margin(machine.vram) + CONTEXT
    return Bounds(free if vram is None else min(vram, free), ram, vram, stated, host)


def _bytes(bound: float | None, whole: int) -> int | None:
    return int(bound * whole) if isinstance(bound, float) else bound


def _less_margin(free: int) -> int:
    return max(0, free - max(MARGIN, free // MARGIN_SHARE))
