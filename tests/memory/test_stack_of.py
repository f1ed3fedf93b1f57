"""What a component wraps: its stack of blocks, and the LoRA files beside that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from torch import Tensor, nn

from wan_core.memory import Unit, loras_of, stack_of


class Stack(nn.Module):
    def units(self) -> list[Unit]:
        return []

    def rest(self) -> dict[str, Tensor]:
        return {}


@attrs.frozen
class Slotted:
    other: int
    transformer: Any


@attrs.define
class Derived(Slotted):
    more: Any = None


STACK = Stack()


@pytest.mark.parametrize(
    ("component", "found"),
    [
        (STACK, STACK),
        (SimpleNamespace(transformer=STACK, other=1), STACK),
        (Slotted(1, STACK), STACK),
        (Derived(1, STACK), STACK),
        (Derived(1, STACK, Stack()), None),
        (SimpleNamespace(one=STACK, two=Stack()), None),
        (nn.Linear(2, 2), None),
        (3, None),
        (print, None),
    ],
    ids=str,
)
def test_stack_of(component: Any, found: Any) -> None:
    assert stack_of(component) is found


def test_loras_of() -> None:
    stack, kept = Stack(), object()
    assert loras_of(Slotted(1, stack)) is None
    stack.loras = kept  # type: ignore[assignment]
    assert loras_of(stack) is loras_of(Slotted(1, stack)) is kept
    assert loras_of(SimpleNamespace(loras=kept)) is kept
    assert loras_of(7) is None
