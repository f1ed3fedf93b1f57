"""How torch hands out the memory of a GPU."""

from __future__ import annotations

import os
import sys
from importlib import metadata

VARIABLE, FORMER = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
RENAMED = (2, 9)
"""The version of torch since which the variable has its name."""
GROWING = "expandable_segments:True"


def let_segments_grow() -> None:
    """Have torch extend its blocks of memory instead of keeping many into which nothing fits.

    Under a budget that is used to the full, tensors of a gigabyte come and go beside block swap's slots. With
    blocks of fixed sizes a tenth of the budget ended reserved and of no use; blocks that grow leave next to
    nothing. It has to be said before anything is on a GPU. What the user says in torch's variable holds.
    """
    if sys.platform != "linux" or VARIABLE in os.environ or FORMER in os.environ:
        return
    os.environ[VARIABLE if _version() >= RENAMED else FORMER] = GROWING


def bound(device: str, most: int | None) -> None:
    """Let torch reserve no more of a GPU than a number of bytes.

    At the bound it gives back what it has reserved and does not use, and only then it fails. So a stated budget
    holds whatever gaps there are between tensors.

    Args:
        device: such as ``"cuda:0"``.
        most: None = as much as there is.
    """
    import torch

    share = 1.0
    if most is not None:
        share = min(1.0, most / torch.cuda.get_device_properties(device).total_memory)
    torch.cuda.set_per_process_memory_fraction(share, device)


def _version() -> tuple[int, int]:
    numbers = metadata.version("torch").split(".")
    return int(numbers[0]), int(numbers[1])
