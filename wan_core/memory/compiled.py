"""Units compiled one by one: equal units share compiled code, and a failure ends in eager calls, in no error.

Compiled code gets weights as arguments, so units may be swapped, and strengths of LoRA files may change. Shapes
are constants of it: it is compiled once for each kind of unit and for each shape of what units are called with.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, ref

import attrs
import torch
from torch import nn

from wan_core.contract.errors import WanCoreError
from wan_core.kernels import is_shortage
from wan_core.memory.units import BlockStack

LIMITS = {
    "recompile_limit": 64,
    "accumulated_recompile_limit": 1024,
    "fail_on_recompile_limit_hit": True,  # else torch goes on eagerly and says nothing
}
LOGGERS = ("torch._dynamo", "torch._inductor")
LONGEST = 200
_SAID = re.compile(r"\berror: (.+)")


@attrs.define(eq=False)
class Compiling:
    """What became of compiling the units of a component.

    Attributes:
        graphs: how many have been compiled.
        seconds: that the calls took in which something was compiled.
        failure: why units are not compiled any more, one line; "" while they are.
        tell: hears a line when the first graph is compiled, and one when compiling fails, each with its level
            (``"info"``, ``"warning"``).
    """

    graphs: int = 0
    seconds: float = 0.0
    failure: str = ""
    tell: Callable[[str, str], None] | None = None

    def begin(self) -> None:
        """A graph is about to be compiled."""
        self.graphs += 1
        if self.graphs == 1:
            self._say("the first step takes longer: it compiles the model's blocks", "info")

    def fail(self, reason: str) -> None:
        """From now on units are called as they are."""
        if self.failure:
            return
        self.failure = reason
        self._say(f"torch.compile failed, so the model runs without it: {reason}", "warning")

    def _say(self, text: str, level: str) -> None:
        if self.tell:
            self.tell(text, level)


_COMPILING: WeakKeyDictionary[nn.Module, Compiling] = WeakKeyDictionary()
_CURRENT: ContextVar[Compiling | None] = ContextVar("compiling", default=None)


def compile_units(stack: BlockStack) -> Compiling:
    """Let the units of a model be compiled when they are called.

    They must not be swapped at the moment; they may be afterwards. When a compiled call fails for whatever
    reason but a lack of memory, the call is made again without compiling, from the same arguments, which
    compiled code does not change. If that succeeds, it was compiling that failed: from then on all units of
    the stack are called as they are. Else the error is the model's own, and reaches the caller.
    """
    compiling = Compiling()

    @cache
    def compiled() -> Callable[..., Any]:
        # what Module.compile does, but for the circle of references that would keep weights when their owner
        # goes; in the first call, because torch already fails here where it can't write its cache
        made: Callable[..., Any] = torch.compile(
            nn.Module._call_impl, backend=_backend, dynamic=False
        )
        return made

    for unit in stack.units():
        unit.module._compiled_call_impl = _guarded(compiled, ref(unit.module), compiling)
        _COMPILING[unit.module] = compiling
    return compiling


def compiling_of(stack: BlockStack) -> Compiling | None:
    """What :func:`compile_units` gave for a stack; None where its units are not compiled."""
    return next((_COMPILING.get(unit.module) for unit in stack.units()), None)


def _guarded(
    compiled: Callable[[], Callable[..., Any]], itself: ref[nn.Module], compiling: Compiling
) -> Callable[..., Any]:
    eager: Callable[..., Any] = nn.Module._call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        module = itself()
        if compiling.failure:
            return eager(module, *args, **kwargs)
        graphs, start = compiling.graphs, time.perf_counter()
        try:
            with _circumstances(compiling):
                return compiled()(module, *args, **kwargs)
        except WanCoreError:
            raise
        except Exception as error:  # whatever torch, Triton or a compiler may raise
            if is_shortage(error):
                raise
            reason = in_one_line(error)
        finally:
            if compiling.graphs > graphs:
                compiling.seconds += time.perf_counter() - start
        # the error is gone, and with its frames the tensors that they hold
        made = eager(module, *args, **kwargs)
        compiling.fail(reason)
        return made

    return call


@contextmanager
def _circumstances(compiling: Compiling) -> Iterator[None]:
    """Limits of torch that hold for a call, and no tracebacks in its log unless ``TORCH_LOGS`` asks for one."""
    quiet = () if os.environ.get("TORCH_LOGS") else map(logging.getLogger, LOGGERS)
    levels = [(logger, logger.level) for logger in quiet]
    token = _CURRENT.set(compiling)
    try:
        for logger, _ in levels:
            logger.setLevel(logging.CRITICAL)
        with torch._dynamo.config.patch(LIMITS):
            yield
    finally:
        _CURRENT.reset(token)
        for logger, level in levels:
            logger.setLevel(level)


def _backend(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
    """One function for all stacks, so that equal units of two experts share compiled code."""
    compiling = _CURRENT.get()
    if compiling is None:
        return BACKEND(graph, inputs)
    compiling.begin()
    try:
        return BACKEND(graph, inputs)
    except Exception as error:
        if is_shortage(error):
            raise
        # an error that passes through torch's tracer leaves it hooked into Python, and callers then hold the
        # tensors that they pass on: better this call runs what was captured, and no other call is compiled
        compiling.fail(in_one_line(error))
        return graph


def _inductor(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
    from torch._inductor.compile_fx import compile_fx

    # weights move: neither their addresses nor their values may become part of the code
    return compile_fx(graph, inputs, config_patches={"triton.cudagraphs": False, "freezing": False})


BACKEND: Callable[[torch.fx.GraphModule, Sequence[Any]], Any] = _inductor


def in_one_line(error: Exception) -> str:
    """What went wrong, without the advice that torch adds."""
    inner = getattr(error, "inner_exception", None) or error
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    text = f"{type(inner).__name__}: {lines[0]}" if lines else type(inner).__name__
    # compilers of C++ and Triton print what they think of the code below a line that says only that they failed
    said = next((found[1] for line in lines[1:] if (found := _SAID.search(line))), "")
    text += f": {said}" if said and said not in text else ""
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return printable if len(printable) <= LONGEST else f"{printable[: LONGEST - 1]}…"
