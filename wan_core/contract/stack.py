"""How a component says that its model is a stack of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from wan_core.contract import validators as valid

__all__ = ["Stack"]

EMPTY: Mapping[str, str] = MappingProxyType({})


@attrs.frozen
class Stack:
    """What a file holds of a model that is a :class:`~wan_core.memory.BlockStack`.

    A component that says it, and whose loader is made of :func:`wan_core.models.load_stack`, takes LoRA files
    (merged and kept apart), is quantised while it is loaded, read from quantised files, and swapped by plan.
    Names are those of the module, which are the official names of its files, too; files with other names need a
    dialect.

    Attributes:
        units: paths of lists of units, in the order in which a forward pass calls them: ``"blocks"`` stands for
            units ``blocks.0``, ``blocks.1`` …
        parts: paths of what the module's ``parts()`` gives: what can lie in host memory beside units.
        keep_float32: ``fnmatch`` patterns of tensors that are used in float32: they are loaded so whatever the
            model's precision, and not quantised.
        widens: weights ``[outputs, inputs, …]`` that LoRA files may give more inputs -> the key of the
            component's config that says how many there are (``{"patch_embedding.weight": "in_dim"}``). The
            loader's ``build`` sees them as wide as that.
    """

    units: tuple[str, ...] = attrs.field(default=("blocks",), validator=valid.names)
    parts: tuple[str, ...] = attrs.field(default=(), validator=valid.names)
    keep_float32: tuple[str, ...] = attrs.field(default=(), validator=valid.names)
    widens: Mapping[str, str] = attrs.field(
        default=EMPTY, hash=False, validator=valid.mapping_of(str, str)
    )
