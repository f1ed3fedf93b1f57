"""Locality-constrained sparse attention with a rolling cache of keys and values.

Tokens fall into windows of 2 frames x 8 rows x 8 columns; the windows of 2 frames are a *slot*. Which window of
queries sees which window of keys is decided anew in every call, from the means of both. The mask is applied
densely in the tensors' own dtype, which stands for a kernel that skips what is masked.

Facts: OpenImagingLab/FlashVSR ``diffsynth/models/wan_video_dit.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor

from wan_core.contract import AttentionCall
from wan_core.models.wan import rotate

WINDOW = (2, 8, 8)
"""Frames, rows and columns of tokens in a window."""

Grid = tuple[int, int, int]


@attrs.frozen(eq=False)
class LocalSparseAttention:
    """Self-attention of a stream (the contract's ``Attend``).

    It changes ``call.state``, a mapping that is empty before the first chunk: ``k`` (rotated) and ``v`` of the
    last slots, oldest first, each ``[batch, windows, tokens of a window, heads, head width]``.

    Attributes:
        topk_ratio: visible pairs of windows per query slot, as a share of the square of a slot's windows.
        kv_ratio: slots that are kept for the next chunk.
        local_range: rows and columns of windows that a window sees.
        observe: gets block and mask ``[batch, heads, windows of q, windows of k]`` of every call.
    """

    topk_ratio: float
    kv_ratio: float = 3.0
    local_range: int = 11
    observe: Callable[[int, Tensor], None] | None = None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
        assert call.grid and call.rope_q and call.rope_k, "video tokens have a grid and positions"
        q = to_windows(rotate(q, call.rope_q), call.grid)
        # keys are kept rotated: their place in the stream does not change
        new = {"k": rotate(k, call.rope_k), "v": v}
        k, v = (extended(call.state.get(name), to_windows(new[name], call.grid)) for name in "kv")
        _, rows, columns = (size // side for size, side in zip(call.grid, WINDOW, strict=True))
        local = local_mask(rows, columns, self.local_range).to(q.device)
        mask = draft_mask(q, k, local, self.topk(rows * columns))
        if self.observe:
            self.observe(call.block, mask)
        out = attend_windows(q, k, v, mask)
        keep = kept_windows(k.shape[1], rows * columns, self.kv_ratio)
        # a view would hold what is dropped
        call.state.update(k=k[:, -keep:].clone(), v=v[:, -keep:].clone())
        return from_windows(out, call.grid)

    def topk(self, slot: int) -> int:
        """Pairs of windows that a query slot sees, for slots of ``slot`` windows."""
        return int(slot * slot * self.topk_ratio) - 1


def kept_windows(windows: int, slot: int, kv_ratio: float) -> int:
    """How many of the last windows stay: at most one slot of them leaves in a call."""
    return windows - slot if windows > int(kv_ratio) * slot else windows


def extended(past: Tensor | None, new: Tensor) -> Tensor:
    """What is kept, followed by a chunk's own."""
    return new if past is None else torch.cat((past, new), dim=1)


def to_windows(x: Tensor, grid: Grid) -> Tensor:
    """``[batch, tokens, heads, width]`` -> ``[batch, windows, tokens of a window, heads, width]``."""
    frames, rows, columns = grid
    t, h, w = WINDOW
    if frames % t or rows % h or columns % w:
        raise ValueError(f"a token grid of {frames} x {rows} x {columns} is no whole windows")
    x = x.unflatten(1, (frames // t, t, rows // h, h, columns // w, w))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7, 8).flatten(4, 6).flatten(1, 3)


def from_windows(x: Tensor, grid: Grid) -> Tensor:
    """The inverse of :func:`to_windows`."""
    frames, rows, columns = grid
    t, h, w = WINDOW
    x = x.unflatten(2, WINDOW).unflatten(1, (frames // t, rows // h, columns // w))
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7, 8).flatten(1, 6)


@lru_cache(maxsize=8)
def local_mask(rows: int, columns: int, reach: int) -> Tensor:
    """Which window of a slot may see which, ``[windows, windows]``, windows row by row.

    An even ``reach`` goes one further towards smaller indices.
    """

    def near(count: int) -> Tensor:
        places = torch.arange(count)
        away = places[None] - places[:, None] + reach // 2
        return (away >= 0) & (away < reach)

    down, across = near(rows), near(columns)
    return (down[:, None, :, None] & across[None, :, None, :]).reshape(rows * columns, -1)


def draft_mask(q: Tensor, k: Tensor, local: Tensor, topk: int) -> Tensor:
    """Which windows see which, ``[batch, heads, windows of q, windows of k]``.

    The ``topk`` largest weights of a head and query slot are chosen among all pairs of its windows together:
    some windows of queries may see many windows of keys, some none.

    Args:
        q, k: as :func:`to_windows` makes them.
        local: as :func:`local_mask` makes it.
    """
    slot = len(local)
    visible = local.repeat(q.shape[1] // slot, k.shape[1] // slot)
    scores = torch.einsum("bqhd,bkhd->bhqk", q.mean(dim=2), k.mean(dim=2)) / math.sqrt(q.shape[-1])
    weights = scores.float().masked_fill(~visible, -math.inf).softmax(dim=-1)
    pairs = weights.unflatten(2, (-1, slot)).flatten(3)
    count = min(pairs.shape[-1] - 1, topk)
    threshold = pairs.topk(count + 1, dim=-1).values[..., -1:]
    return (pairs > threshold).unflatten(3, (slot, -1)).flatten(2, 3)


def attend_windows(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention among the windows that see each other; a window that sees none gets zeros."""
    tokens = q.shape[2]
    flat = [x.flatten(1, 2).transpose(1, 2) for x in (q, k, v)]
    dense = mask.repeat_interleave(tokens, dim=-2).repeat_interleave(tokens, dim=-1)
    out = F.scaled_dot_product_attention(*flat, attn_mask=dense)
    seeing = dense.any(dim=-1, keepdim=True)
    out = torch.where(seeing, out, torch.zeros_like(out))
    return out.transpose(1, 2).unflatten(1, (-1, tokens))
