"""A torch that sees the GPUs of a test."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType, SimpleNamespace

import attrs


@attrs.frozen
class FakeCuda:
    """A GPU; memory in bytes."""

    name: str
    capability: tuple[int, int]
    free: int
    total: int


RTX = FakeCuda("RTX", (8, 9), 20 * 10**9, 24 * 10**9)


def fake_torch(
    version: str = "2.11.0", built: str | None = "12.8", gpus: Sequence[FakeCuda] = ()
) -> ModuleType:
    """What the checks ask a torch; ``built`` is the version of CUDA that it is built for."""

    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    fake = ModuleType("torch")
    vars(fake).update(
        __version__=version,
        version=SimpleNamespace(cuda=built, hip=None),
        get_num_threads=lambda: 4,
        cuda=SimpleNamespace(
            is_available=lambda: bool(gpus),
            init=init,
            device_count=lambda: len(gpus),
            get_device_name=lambda index: gpus[index].name,
            get_device_capability=lambda index: gpus[index].capability,
            mem_get_info=lambda index: (gpus[index].free, gpus[index].total),
            memory_reserved=lambda index: 0,
            get_arch_list=lambda: ["sm_75", "sm_80", "sm_90a", "sm_120"],
        ),
    )
    return fake
