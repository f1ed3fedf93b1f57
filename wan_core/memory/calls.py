"""What happens around every call of a module, compiled or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def around(
    module: nn.Module, before: Callable[[], None], after: Callable[[], None]
) -> Iterator[None]:
    """Until the end of the context, call ``before`` and ``after`` around every call of ``module``.

    ``after`` is called as well when the call fails, but not when ``before`` does. Forward hooks would not do:
    ``Module.compile`` compiles them along with the forward pass, and what swaps weights is no part of a graph.
    A module is compiled before the context or after it, not within.
    """
    compiled = module._compiled_call_impl
    run: Callable[..., Any] = compiled or module._call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        before()
        try:
            return run(*args, **kwargs)
        finally:
            after()

    module._compiled_call_impl = call
    try:
        yield
    finally:
        if module._compiled_call_impl is call:
            module._compiled_call_impl = compiled
