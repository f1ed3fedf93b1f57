"""What operations make, seen as they run; on the meta device nothing is computed for it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def frames_let_go() -> bool:
    """Whether calls release what only they were given.

    torch stays hooked into Python when an error has passed through its tracer, as in tests of such errors; then
    callers hold their arguments until the call is over, and more bytes live than in a process without errors.
    """

    class Thing:
        pass

    def released(thing: Thing, known: list[weakref.ref[Thing]]) -> bool:
        known.append(weakref.ref(thing))
        del thing
        return known[0]() is None

    return released(Thing(), [])


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, for as long as they live."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self.live: dict[int, weakref.ref[UntypedStorage]] = {}
        self.now = self.peak = 0
        for tensor in known:
            self._note(tensor)
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        return out

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        known = self.live.get(key)
        if known is not None and known() is storage:
            return

        def gone(_: object) -> None:
            self.now -= size
            self.live.pop(key, None)

        self.live[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


class Numbers(TorchDispatchMode):
    """The sizes of all tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen += [leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        return out


@contextmanager
def fused_attention(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On the meta device attention would make its scores; the kernels in use do not."""
    attention = "torch.nn.functional.scaled_dot_product_attention"
    with monkeypatch.context() as patch:
        patch.setattr(attention, lambda q, k, v, *_, **__: torch.empty_like(q))
        yield
