"""Lazy exports: a package lists its public names, and a name's module is imported on first use.

This keeps ``wan-core --help`` and plain ``import wan_core`` free of torch (see DESIGN: floors and lazy
imports), while ``from wan_core.sampling import sample`` still works.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def exports(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Build ``__getattr__``, ``__dir__`` and ``__all__`` for a package.

    Args:
        package: the package's ``__name__``.
        names: public name -> submodule (relative to the package) that defines it.

    Returns:
        The three module attributes, in that order.
    """

    def __getattr__(name: str) -> Any:
        module = names.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module}"), name)

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__, sorted(names)


def resolve(reference: str) -> Any:
    """Return the object an import string names: ``"package.module:name"``.

    Raises:
        ImportError: the module does not import.
        AttributeError: the module has no such name.
        ValueError: the string has no colon.
    """
    module, separator, name = reference.partition(":")
    if not separator:
        raise ValueError(f"{reference!r} is no import string of the form 'package.module:name'")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
