"""Small stacks for the tests of block swap, and copies that arrive whenever a test wants them to."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wan_core.memory import Unit, rest_of

ARRIVALS: dict[str, Callable[[], Callable[[int], int]]] = {
    "late": lambda: lambda coming: 0,
    "at once": lambda: lambda coming: coming,
    "one by one": lambda: lambda coming: 1,
    "random": lambda: drawn(random.Random(7)),
}
"""How many of the copies on their way arrive with every operation."""


def drawn(generator: random.Random) -> Callable[[int], int]:
    return lambda coming: generator.randint(0, coming)


class Adder(nn.Module):
    """Adds its weight to what it is given and notes its own name; may be told to fail."""

    def __init__(self, name: str, value: float, width: int, log: list[str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), value))
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)
        self.name = name
        self.log = log
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        self.log.append(self.name)
        if self.fails:
            raise RuntimeError(f"{self.name} failed")
        return x + self.weight.sum() * self.scale


class Stack(nn.Module):
    """Unit ``i`` has ``widths[i]`` elements and adds twice their sum, ``2 * widths[i] * (i + 1)``."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.log: list[str] = []
        self.layers = nn.ModuleList(
            Adder(f"layers.{i}", float(i + 1), width, self.log) for i, width in enumerate(widths)
        )
        self.last = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, skip: frozenset[int] = frozenset()) -> Tensor:
        for index, layer in enumerate(self.layers):
            if index not in skip:
                x = layer(x)
        return x + self.last

    def value(self, index: int) -> float:
        """What unit ``index`` adds."""
        return 2.0 * (index + 1) * self.layers[index].weight.numel()

    def units(self) -> list[Unit]:
        return [Unit(f"layers.{i}", layer) for i, layer in enumerate(self.layers)]

    def rest(self) -> dict[str, Tensor]:
        return rest_of(self, self.units())

    def names(self, *indices: int) -> list[str]:
        return [f"layers.{i}" for i in indices]
