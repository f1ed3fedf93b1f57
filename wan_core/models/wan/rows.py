"""Which tokens are handled at a time, where all at once would take memory that no result needs."""

from __future__ import annotations

import torch

Piece = tuple[slice, slice]
"""Tokens, and the groups of modulation that serve them."""


def may_write() -> bool:
    """Whether results may be written into tensors that are there: neither gradients nor compilers allow it."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def pieces(tokens: int, rows: int | None, groups: int = 1) -> list[Piece]:
    """Cut tokens into runs of at most ``rows``, as even as can be.

    A run is made of whole groups, or it is part of one; so it may hold fewer.

    Args:
        rows: None = all at once.
        groups: of modulation, each of which serves ``tokens / groups`` tokens in succession.
    """
    if rows is None or tokens <= rows:
        return [(slice(0, tokens), slice(0, groups))]
    width = tokens // groups
    if width <= rows:
        count = _even(groups, rows // width)
        return [
            (slice(first * width, last * width), slice(first, last))
            for first in range(0, groups, count)
            for last in (min(first + count, groups),)
        ]
    count = _even(width, rows)
    return [
        (slice(start + first, start + min(first + count, width)), slice(group, group + 1))
        for group, start in enumerate(range(0, tokens, width))
        for first in range(0, width, count)
    ]


def _even(total: int, most: int) -> int:
    """The largest of as few parts as ``total`` is cut into when none has more than ``most``."""
    parts = -(-total // most)
    return -(-total // parts)
