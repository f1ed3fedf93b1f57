"""A checkpoint under official names, from its header alone. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from wan_core.contract.errors import WeightsError
from wan_core.weights.dialects import Dialect, detect
from wan_core.weights.identity import TITLES, identify
from wan_core.weights.prefixes import strip_prefixes
from wan_core.weights.sources import RenamedSource, TensorSource

__all__ = ["in_official_names", "matches"]


def in_official_names(source: TensorSource, dialects: Sequence[Dialect]) -> RenamedSource:
    """The component of ``dialects`` that ``source`` holds, under its official names.

    Prefixes are stripped and the dialect is detected from the names. Sizes of the architecture are
    best deduced from the result's shapes.

    Raises:
        WeightsError: none of the dialects fits; the message says what the file is instead.
    """
    component = dialects[0].component
    stripped = strip_prefixes(source, component)
    dialect = detect(frozenset(stripped.names()), dialects)
    if dialect is None:
        found = identify(source, component)
        if found.component == component:
            raise WeightsError(
                f"this is {found}, but its tensors have names that are not read ({found.dialect})",
                where=source.label,
                remedy="use a file with the official names",
            )
        wanted = TITLES.get(component, component)
        raise WeightsError(f"this is {found}, not {wanted}", where=source.label)
    stored: dict[str, str] = {}
    unknown: list[str] = []
    for name in stripped.names():
        official = dialect.to_official(name)
        if official is None:
            if not matches(name, dialect.ignores):
                unknown.append(name)
        elif official not in stored or dialect.from_official(official) == name:
            stored[official] = name
    return RenamedSource(stripped, stored, tuple(unknown))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the ``fnmatch`` patterns fits."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
