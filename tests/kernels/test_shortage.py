"""Errors that say in other words that memory has run out."""

from __future__ import annotations

import pytest
import torch

from wan_core.kernels import as_shortage, is_shortage

SAID = (
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)",
)


@pytest.mark.parametrize("said", SAID)
def test_they_are_one_error(said: str) -> None:
    with pytest.raises(torch.OutOfMemoryError) as caught, as_shortage():
        raise RuntimeError(said)
    assert str(caught.value) == said
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_what_is_one_stays_it() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError) as caught, as_shortage():
        raise error
    assert caught.value is error
    assert is_shortage(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("out of memory"),
        KeyError("out of memory"),
        MemoryError(),
    ],
)
def test_other_errors_are_what_they_were(error: Exception) -> None:
    assert not is_shortage(error)
    with pytest.raises(type(error)) as caught, as_shortage():
        raise error
    assert caught.value is error
