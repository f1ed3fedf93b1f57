"""Telling from the header alone what a checkpoint is, to plan with and to name a misplaced file."""

from __future__ import annotations

import attrs

from wan_core.weights.kinds import recognise
from wan_core.weights.kinds.base import TITLES, Identity, LoraTraits
from wan_core.weights.kinds.names import Names
from wan_core.weights.precision import Precision, precision_of
from wan_core.weights.prefixes import COMPARTMENTS, strip_prefixes
from wan_core.weights.sources import RenamedSource, TensorSource

__all__ = ["TITLES", "Identity", "LoraTraits", "Precision", "identify"]


def identify(source: TensorSource, component: str | None = None) -> Identity:
    """Say what ``source`` holds.

    Args:
        component: the kind hoped for, which decides in a file that holds several components.

    Raises:
        WeightsError: two tensors have the same name once prefixes are stripped.
    """
    stripped = strip_prefixes(source, component)
    found = recognise(Names.of(stripped, source))
    if component and found.component != component:
        # one part of a file says less of it than the whole
        whole = strip_prefixes(source)
        instead = recognise(Names.of(whole, source))
        if instead.component != "unknown":
            found, stripped = instead, whole
    elif found.component == "unknown":
        # a file with several parts is called after the first that is known
        for kind in COMPARTMENTS:
            part = strip_prefixes(source, kind)
            instead = recognise(Names.of(part, source))
            if instead.component != "unknown":
                model = f"{instead.model or instead.title}, with other parts in the same file"
                found, stripped = attrs.evolve(instead, model=model), part
                break
    return attrs.evolve(found, precision=precision_of(source), prefix=_prefix(stripped))


def _prefix(stripped: RenamedSource) -> str:
    name, stored = next(iter(stripped.stored.items()), ("", ""))
    return stored.removesuffix(name) if stored.endswith(name) and name else ""
