"""Rotary position tables for tokens on a (frames, height, width) grid.

Angles follow RoFormer (arXiv 2104.09864) with base 10000 and one table per axis. Of the ``d / 2``
pairs of a head, height and width get ``d // 6`` each and frames the rest (Wan: 22, 21, 21 of 64).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wan_core.contract.conditioning import NATURAL, Axis, Positions

THETA = 10000.0
Grid = tuple[int, int, int]
Table = tuple[Tensor, Tensor]
"""``(cos, sin)``, each ``[tokens, head width / 2]`` or with a leading batch axis, float32."""


def axis_angles(axis: Axis, length: int, pairs: int) -> Tensor:
    """Angles ``[length, pairs]`` in float64: position times ``THETA ** (-k / pairs)``.

    Raises:
        ValueError: the axis states another length.
    """
    if axis.length not in (None, length):
        raise ValueError(f"positions for {axis.length} tokens on an axis that has {length}")
    steps = torch.arange(length, dtype=torch.float64, device="cpu")
    frequencies = THETA ** (-torch.arange(pairs, dtype=torch.float64, device="cpu") / pairs)
    return torch.outer(axis.offset + axis.scale * steps, frequencies)


def grid_angles(head_width: int, grid: Grid, positions: Positions = NATURAL) -> Tensor:
    """Angles ``[frames * height * width, head_width / 2]`` in float64, frames slowest."""
    third = head_width // 6
    pairs = (head_width // 2 - 2 * third, third, third)
    axes = (positions.frames, positions.height, positions.width)
    parts = []
    for index, (axis, length, count) in enumerate(zip(axes, grid, pairs, strict=True)):
        shape = [1, 1, 1, count]
        shape[index] = length
        parts.append(axis_angles(axis, length, count).view(shape).expand(*grid, count))
    return torch.cat(parts, dim=-1).flatten(0, 2)


def rope_tables(
    head_width: int, grid: Grid, positions: Positions = NATURAL, device: str | torch.device = "cpu"
) -> Table:
    """The tables of a grid, ``[frames * height * width, head_width / 2]`` each, on ``device``.

    Built in float64 on the host.
    """
    return _tables(head_width, grid, _spans(positions), str(device))


class RopeCache:
    """Tables of the last two grids on the device in use, so that they are made once, not every step.

    It belongs to a transformer and leaves with it.
    """

    KEPT = 2

    def __init__(self) -> None:
        self._kept: dict[_Key, Table] = {}

    def tables(
        self, head_width: int, grid: Grid, positions: Positions, device: torch.device
    ) -> Table:
        """As :func:`rope_tables`."""
        if torch.compiler.is_compiling():
            return rope_tables(head_width, grid, positions, device)
        key = (head_width, grid, _spans(positions), str(device))
        table = self._kept.pop(key, None)
        if table is None:
            here = [(k, t) for k, t in self._kept.items() if k[-1] == key[-1]]
            self._kept = dict(here[1 - self.KEPT :])
            table = _tables(*key)
        self._kept[key] = table  # the one used last is last
        return table


_Span = tuple[int | None, float, float]
_Key = tuple[int, Grid, tuple[_Span, ...], str]


def _spans(positions: Positions) -> tuple[_Span, ...]:
    axes = (positions.frames, positions.height, positions.width)
    return tuple((axis.length, axis.scale, axis.offset) for axis in axes)


def _tables(width: int, grid: Grid, spans: tuple[_Span, ...], device: str) -> Table:
    # tables made during inference are used in training, too
    with torch.inference_mode(False), torch.no_grad():
        angles = grid_angles(width, grid, Positions(*(Axis(*span) for span in spans)))
        return angles.cos().float().to(device), angles.sin().float().to(device)


# Its arguments are plain numbers and strings: to torch.compile the result is a constant. This mark is all that
# torch.compiler.assume_constant_result makes, but that imports the compiler, which takes a second and writes a
# folder, also for whoever compiles nothing.
_tables._dynamo_marked_constant = True  # type: ignore[attr-defined]


def padded(tables: Sequence[Table], length: int) -> Table:
    """Tables of several samples, each ``[batch, length, pairs]``; padding is not rotated."""

    def stack(parts: Sequence[Tensor], fill: float) -> Tensor:
        out = parts[0].new_full((len(parts), length, parts[0].shape[-1]), fill)
        for row, part in zip(out, parts, strict=True):
            row[: part.shape[0]] = part
        return out

    return stack([cos for cos, _ in tables], 1.0), stack([sin for _, sin in tables], 0.0)
