"""What an error holds is let go."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wan_core.memory import give_back, let_go

Refs = list["weakref.ref[torch.Tensor]"]


@contextmanager
def region(refs: Refs) -> Iterator[None]:
    held = torch.zeros(3)
    refs.append(weakref.ref(held))
    yield
    del held


def deep(refs: Refs, depth: int) -> None:
    held = torch.zeros(3)
    refs.append(weakref.ref(held))
    if depth:
        with region(refs):
            deep(refs, depth - 1)
    try:
        raise ValueError("the cause")
    except ValueError as error:
        raise torch.OutOfMemoryError("full") from error


def test_frames_of_an_error_and_of_its_causes_are_cleared() -> None:
    refs: Refs = []
    mine = torch.zeros(3)
    try:
        deep(refs, 3)
    except torch.OutOfMemoryError as error:
        assert len(refs) == 7
        assert sum(ref() is not None for ref in refs) >= 4
        let_go(error)
        assert error.__traceback__ is None
        assert error.__cause__ is None
        give_back()
        assert not any(ref() for ref in refs)
    assert mine.sum() == 0  # this frame is still running
