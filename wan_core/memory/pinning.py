"""Host memory that a device copies from by itself.

torch rounds its own pinned memory up to a power of two, which would waste a third of a gigabyte on each block
of 0.7 GB. Here pages are mapped as needed and registered with CUDA. Large buffers ask for huge pages, and are
registered by threads of their own after their contents were written: what a page costs to be made and to be
held is most of what it takes to set block swap up.
"""

from __future__ import annotations

import mmap
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from typing import Any

import torch
from torch import Tensor

PORTABLE = 1  # cudaHostRegisterPortable: pinned for every device
HUGE = 2 << 20
THREADS = 4


class Pages(mmap.mmap):
    """Anonymous memory on pages of its own, zero at first; the system has it back when nobody refers to it.

    Args:
        size: bytes; of buffers from :data:`HUGE` on, the pages are as large where the system has such.
    """

    _registered = 0  # the address that CUDA knows
    _size = 0
    _start = 0

    def __new__(cls, size: int) -> Pages:
        huge = size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE")
        # a little more than asked, so that a buffer begins where a huge page does; the rest stays unused
        length = size + (HUGE if huge else 0)
        pages = super().__new__(cls, -1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages._size = size
        if huge:
            pages._start = -_address(pages) % HUGE
            with suppress(OSError):  # a kernel without them
                pages.madvise(mmap.MADV_HUGEPAGE)
        return pages

    def buffer(self) -> Tensor:
        """The memory as a tensor ``[bytes]`` of uint8."""
        return torch.frombuffer(self, dtype=torch.uint8, count=self._size, offset=self._start)

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
        if int(runtime.cudaHostRegister(address, self._size, PORTABLE)) != 0:
            with suppress(
                RuntimeError
            ):  # takes the refusal, which the next operation would report as its own
                torch.zeros(1, device="cuda")
            return False
        self._registered = address
        with suppress(OSError):  # a child process must not have the pages moved by sharing them
            self.madvise(mmap.MADV_DONTFORK)
        return True

    def pin_soon(self) -> Future[bool]:
        """:meth:`pin` in a thread, with others at a time."""
        return _pinning().submit(self.pin)

    def __del__(self) -> None:
        if self._registered and not sys.is_finalizing():
            _runtime().cudaHostUnregister(self._registered)


def pinnable_bytes() -> int:
    """Half of the machine's memory: what may be pinned when nobody says otherwise."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _address(pages: Pages) -> int:
    return torch.frombuffer(pages, dtype=torch.uint8, count=1).data_ptr()


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


@cache
def _pinning() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "pinning")
