"""The fixed rule that says which combinations of words are never trained on.

A combination (size, colour, shape, motion, background), each an index into ``words``, is held out
when ``(5 size + colour + 4 shape + 3 motion + 2 background) mod 10 == 0``: a tenth of all. Every
word, every pair and nearly every triple of words still appears in training, only never these five
together.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from zoo.world.words import ATTRIBUTES

WEIGHTS = (5, 1, 4, 3, 2)
MODULUS = 10


def is_heldout(attributes: Tensor) -> Tensor:
    """Whether each row of ``attributes [batch, 5]`` (int64) is held out; ``[batch]`` bool."""
    weights = torch.tensor(WEIGHTS, device=attributes.device)
    return (attributes * weights).sum(-1) % MODULUS == 0


def combinations(*, heldout: bool) -> Tensor:
    """All training combinations, or all held-out ones: ``[count, 5]`` int64."""
    every = torch.tensor(list(itertools.product(*(range(len(w)) for w in ATTRIBUTES.values()))))
    return every[is_heldout(every) == heldout]


def assert_trainable(attributes: Tensor) -> None:
    """Raise AssertionError when a row of ``attributes [batch, 5]`` is held out."""
    assert not bool(is_heldout(attributes).any()), "a held-out combination reached training"


def evaluation_combinations(count: int, seed: int = 0) -> Tensor:
    """``count`` different held-out combinations that use all words about equally, ``[count, 5]``.

    Greedy: again and again the combination whose words were used least, ties broken by ``seed``.
    """
    pool = combinations(heldout=True)
    pool = pool[torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))]
    assert count <= len(pool), f"only {len(pool)} combinations are held out"
    used = [torch.zeros(len(words)) for words in ATTRIBUTES.values()]
    free = torch.ones(len(pool), dtype=torch.bool)
    picked = []
    for _ in range(count):
        cost = sum(
            use[pool[:, column]] * len(use) for column, use in enumerate(used)
        ) + torch.where(free, 0.0, torch.inf)
        best = int(cost.argmin())
        free[best] = False
        picked.append(best)
        for column, use in enumerate(used):
            use[pool[best, column]] += 1
    return pool[picked]
