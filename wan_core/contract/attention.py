"""What an attention callable gets and declares.

An attention callable computes ``attend(q, k, v, call) -> out`` with ``q`` ``[batch, queries, heads, head
width]``, ``k`` and ``v`` ``[batch, keys, heads, head width]`` and ``out`` like ``q``. q and k are normed
but *not* rotated: ``call`` carries the rope, so that a callable may pool, cache or re-place keys first.
Rope followed by scaled-dot-product attention is the reference of all others.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Segment:
    """A named run of tokens inside the sequence (``"condition"``, ``"noise"``)."""

    name: str
    start: int
    length: int


# a dataclass, not attrs: torch.compile can build it inside a captured graph
@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class AttentionCall:
    """The circumstances of one attention.

    Attributes:
        source: ``"self"``, or the name of the cross-attention source (``"text"``, ``"image"``, …).
        rope_q: ``(cos, sin)`` for the queries, each ``[tokens, head width / 2]`` or with a leading batch
            axis, real-valued float32; None = not rotated. Pairs are adjacent elements ``(2k, 2k + 1)``.
        rope_k: the same for the keys.
        grid: token grid (frames, height, width) of the queries, None when there is none.
        segments: parts of the sequence, when it has several.
        lengths: true number of keys per sample ``[batch]`` int64; None = all keys count.
        block: index of the block.
        branch: guidance branch of this call.
        state: this block's part of a state across calls (a KV cache), or None. A callable changes a mutable
            state by putting other tensors under its names.
    """

    source: str = "self"
    rope_q: tuple[Tensor, Tensor] | None = None
    rope_k: tuple[Tensor, Tensor] | None = None
    grid: tuple[int, int, int] | None = None
    segments: tuple[Segment, ...] = ()
    lengths: Tensor | None = None
    block: int = 0
    branch: str = "cond"
    state: dict[str, Tensor] | None = None


class Attend(Protocol):
    """The signature of an attention callable."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor: ...


@attrs.frozen
class AttentionSupport:
    """What a backend can do; planning refuses what it can't, by name.

    Attributes:
        rectangular: q and k may have different lengths.
        masks: ``call.lengths`` is honoured.
        state: ``call.state`` is honoured.
        head_widths: allowed head widths; empty = any.
        dtypes: allowed dtypes by name (``"bfloat16"``); empty = any.
        devices: device types it runs on; empty = any.
        exact: equal to the reference up to rounding.
    """

    rectangular: bool = True
    masks: bool = True
    state: bool = False
    head_widths: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    exact: bool = True
