"""Whether a plugin takes from wan-core what is public, and nothing else."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["inner_names", "names_used"]

IMPORT_STRING = re.compile(r"([a-z_]\w*(?:\.\w+)*):(\w+)")
OPEN = ("wan_core.contract", "wan_core.hookspecs")
"""Modules that are public as they are."""

Name = tuple[str, str | None]
"""A module and a name in it; None is the module itself."""


def inner_names(folder: Path) -> dict[str, Sequence[Name]]:
    """What the Python files below a folder take from wan-core that may move with any release.

    Public are :mod:`wan_core.contract`, :mod:`wan_core.hookspecs` and what packages export
    (``wan_core.models.wan.WanBlock``, but not ``wan_core.models.wan.block.WanBlock``), in import statements and
    in import strings. A plugin's own tests may ask that there be nothing::

        assert inner_names(Path(my_plugin.__file__).parent) == {}

    Returns:
        File, relative to the folder -> names. Files that take none are not in it.

    Raises:
        OSError, SyntaxError: a file can't be read.
    """
    found = {
        path.relative_to(folder).as_posix(): [
            name
            for name in names_used(path)
            if name[0].partition(".")[0] == "wan_core" and not _is_public(*name)
        ]
        for path in sorted(folder.rglob("*.py"))
    }
    return {file: names for file, names in found.items() if names}


def names_used(path: Path) -> Iterator[Name]:
    """What a Python file imports, wherever it does, import strings (``"package.module:name"``) too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.Constant) and (found := IMPORT_STRING.fullmatch(str(node.value))):
            yield found[1], found[2]


def _is_public(module: str, name: str | None) -> bool:
    if module.startswith(OPEN):
        return True
    imported = importlib.import_module(module)
    return hasattr(imported, "__path__") and (name is None or name in imported.__all__)
