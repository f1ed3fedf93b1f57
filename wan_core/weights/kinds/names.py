"""The names and shapes of a file, with the questions that recognisers ask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wan_core.weights.sources import TensorSource

__all__ = ["Names"]

Shape = tuple[int, ...]


class Names:
    """Names without prefixes and markers -> shapes as the module has them, however they are stored.

    Attributes:
        shapes: two 4-bit numbers in a byte count as two, and ``x.weight_int8`` is ``x.weight``.
        stored: the same as the file has them, prefixes, markers and all.
    """

    def __init__(
        self, shapes: Mapping[str, Shape], stored: Mapping[str, Shape] | None = None
    ) -> None:
        self.shapes = shapes
        self.stored = shapes if stored is None else stored

    @classmethod
    def of(cls, stripped: TensorSource, source: TensorSource) -> Names:
        """The names of ``source``, of which ``stripped`` is what is left without prefixes."""
        shapes: dict[str, Shape] = {}
        for name, info in stripped.tensors.items():
            shape = info.shape
            if name.endswith(".weight_int8"):
                name = name.removesuffix("_int8")
            elif info.dtype == "U8" and f"{name}_scale_2" in stripped.tensors and shape:
                shape = (*shape[:-1], 2 * shape[-1])
            shapes[name] = shape
        return cls(shapes, {name: info.shape for name, info in source.tensors.items()})

    def under(self, prefix: str) -> Names:
        """Those below ``prefix``, without it."""
        below = {n.removeprefix(prefix): s for n, s in self.shapes.items() if n.startswith(prefix)}
        return Names(below, self.stored)

    def has(self, *names: str) -> bool:
        return all(name in self.shapes for name in names)

    def rank(self, name: str) -> int:
        """Number of axes; 0 when it isn't there."""
        return len(self.shapes.get(name, ()))

    def size(self, axis: int, *names: str) -> int:
        """Size of that axis of the first of ``names`` that is there; 0 when none fits."""
        shape = next((self.shapes[name] for name in names if name in self.shapes), ())
        return shape[axis] if axis < len(shape) else 0

    def count(self, pattern: str) -> int:
        """How many different numbers the group of ``pattern`` matches at the start of a name."""
        find = re.compile(pattern).match
        return len({found[1] for found in map(find, self.shapes) if found})

    def any(self, *starts: str) -> bool:
        """Does a name begin with one of these?"""
        return any(name.startswith(starts) for name in self.shapes)

    def parts(self, below: str = "") -> set[str]:
        """The first parts of all names below a prefix."""
        cut = len(below)
        return {n[cut:].split(".", 1)[0] for n in self.shapes if n.startswith(below)}

    def first(self, candidates: Iterable[str]) -> str:
        """The first of ``candidates`` that is there, or ``""``."""
        return next((name for name in candidates if name in self.shapes), "")
