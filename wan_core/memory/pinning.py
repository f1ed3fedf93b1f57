"""Host memory that a device copies from by itself.

torch rounds its own pinned memory up to a power of two, which would waste a third of a gigabyte on each block
of 0.7 GB. Here pages are mapped as needed and registered with CUDA.
"""

from __future__ import annotations

import mmap
import os
import sys
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

PORTABLE = 1  # cudaHostRegisterPortable: pinned for every device


class Pages(mmap.mmap):
    """Anonymous memory on pages of its own, zero at first; the system has it back when nobody refers to it."""

    _registered = 0  # the address that CUDA knows

    def buffer(self) -> Tensor:
        """The memory as a tensor ``[bytes]`` of uint8."""
        return torch.frombuffer(self, dtype=torch.uint8)

    def pin(self) -> bool:
        """Hold the pages where they are for as long as they exist.

        Returns:
            Whether that is so; False where there is no CUDA or the system allows no more. Copies from pages
            that are not held are right, but slower.
        """
        if not torch.cuda.is_available():
            return False
        runtime = _runtime()
        address = self.buffer().data_ptr()
        if int(runtime.cudaHostRegister(address, len(self), PORTABLE)) != 0:
            with suppress(
                RuntimeError
            ):  # takes the refusal, which the next operation would report as its own
                torch.zeros(1, device="cuda")
            return False
        self._registered = address
        return True

    def __del__(self) -> None:
        if self._registered and not sys.is_finalizing():
            _runtime().cudaHostUnregister(self._registered)


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def pinnable_bytes() -> int:
    """Half of the machine's memory: what may be pinned when nobody says otherwise."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
