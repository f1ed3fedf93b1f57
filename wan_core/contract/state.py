"""State across model calls: what is computed once and read, or carried on, by calls that follow.

A denoiser returns its state from ``prefill`` and finds it again in ``Inputs.state``. State is an explicit
object, so that whoever schedules memory knows how much there will be before it exists, may move it with the
units that use it, and knows when it is no longer needed.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Literal, get_args

import attrs

if TYPE_CHECKING:
    from torch import Tensor

Scope = Literal["run", "segment", "window", "branch"]


@attrs.frozen
class StateSpec:
    """State before it exists: what a plan can say of it. Computed in closed form, without torch.

    Attributes:
        name: its key among the denoiser's states (``"kv"``).
        bytes: of all of it that exists at one time, on whatever device.
        scope: how long it lives: ``"run"`` (the whole stage), ``"segment"`` (one call of
            :func:`wan_core.sampling.sample`), ``"window"`` (one context window) or ``"branch"`` (one
            guidance branch; ``bytes`` counts all branches).
        mutable: calls change it. What is not mutable is written once, may be streamed like weights and
            be dropped without being written back.

    Raises:
        ValueError: no name, negative bytes, or a scope that there is not.
    """

    name: str
    bytes: int
    scope: Scope = "segment"
    mutable: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.name or self.bytes < 0 or self.scope not in get_args(Scope):
            raise ValueError(f"a state needs a name, bytes of 0 or more and a scope, not {self}")


@attrs.define(eq=False)
class State:
    """State that exists.

    Attributes:
        spec: what was said of it.
        parts: name of a unit (:class:`wan_core.memory.Unit`) -> name -> tensor. A part belongs to its unit
            and travels with it; what no unit owns has the key ``""``. A model reads a part when the unit
            runs and not before, and assigns it whole when it has made or changed it; it never writes into a
            tensor of a part, so that a step that failed finds the state as it was. Where the tensors
            lie is up to the mapping: ``attrs.evolve(state, parts=…)`` with one that fetches what is read
            and puts away what is assigned moves the state, and no model notices.
    """

    spec: StateSpec
    parts: MutableMapping[str, Mapping[str, Tensor]] = attrs.field(factory=dict)

    @property
    def bytes(self) -> int:
        """What there is of it now; reads every part."""
        return sum(tensor.nbytes for part in self.parts.values() for tensor in part.values())
