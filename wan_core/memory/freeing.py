"""Getting memory back after it has run out: an error holds its frames, and these hold tensors."""

from __future__ import annotations

import gc
import traceback

import torch


def let_go(error: BaseException) -> None:
    """Clear the frames that an error, and those that led to it, have passed through.

    Frames that still run are left alone.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__]
        traceback.clear_frames(one.__traceback__)
        one.__traceback__ = one.__cause__ = one.__context__ = None


def give_back() -> None:
    """Collect what nobody refers to any more, and give what the allocator holds back to the device."""
    gc.collect()
    empty_allocator()


def empty_allocator() -> None:
    """Give what the allocator holds and nobody uses back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
