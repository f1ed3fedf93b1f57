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


def _version() -> tuple[int, int]:
    numbers = metadata.version("torch").split(".")
    return int(numbers[0]), int(numbers[1])
