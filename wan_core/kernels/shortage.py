"""In how many ways libraries say that memory has run out. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["as_shortage", "is_shortage"]

PHRASES = ("out of memory", "_STATUS_ALLOC_FAILED", "can't allocate memory")
"""Of CUDA where it was not torch's allocator that asked it, of cuBLAS and cuDNN, and of torch on the CPU."""


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a device or for tensors on the CPU."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)


@contextmanager
def as_shortage() -> Iterator[None]:
    """A region in which all of these errors are ``torch.OutOfMemoryError``."""
    try:
        yield
    except RuntimeError as error:
        import torch

        if is_shortage(error) and not isinstance(error, torch.OutOfMemoryError):
            raise torch.OutOfMemoryError(str(error)) from error
        raise
