"""Dialects: the ways in which files name the tensors of one and the same component.

Every component (transformer, VAE, text encoder …) has *official* names, those of the reference
implementation; a dialect translates one other way of naming into them and back. Dialects are pure
functions over names, so that they work on a header alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Set

import attrs

__all__ = ["Dialect", "detect", "renaming"]


@attrs.frozen
class Dialect:
    """One way of naming the tensors of a component.

    Attributes:
        name: what people call it, e.g. ``"official"`` or ``"diffusers"``.
        component: the kind of component whose files may use it (``"wan-transformer"``,
            ``"wan-vae"``, ``"umt5-encoder"`` …), as :func:`wan_core.weights.identify` says it.
        detect: does a file with these names (prefixes already stripped) speak this dialect?
        to_official: a name of this dialect -> the official name; None for a tensor that the
            component does not have.
        from_official: the inverse; None where this dialect has no such tensor. When a file holds
            one tensor under two names, this is the name that counts.
        ignores: ``fnmatch`` patterns of tensors that such files may carry without meaning
            (leftovers, a tokenizer); matched against names of this dialect.
    """

    name: str
    component: str
    detect: Callable[[Set[str]], bool]
    to_official: Callable[[str], str | None]
    from_official: Callable[[str], str | None]
    ignores: tuple[str, ...] = ()


def detect(names: Set[str], dialects: Iterable[Dialect]) -> Dialect | None:
    """The first of ``dialects`` that recognises ``names``."""
    return next((dialect for dialect in dialects if dialect.detect(names)), None)


def renaming(
    pairs: Iterable[tuple[str, str]],
) -> tuple[Callable[[str], str | None], Callable[[str], str | None]]:
    """Build ``to_official`` and ``from_official`` from a table of ``(official, other)`` templates.

    In a template ``{i}`` (any letter) stands for a whole number and ``{*}`` for any rest of a name;
    everything else is literal and names match as a whole, never in part. The first template that
    matches decides, so of several ``other`` names for one official name the first is the one that
    ``from_official`` gives.

    Example:
        ``renaming([("blocks.{i}.attn.{*}", "layers.{i}.attention.{*}")])``
    """
    table = list(pairs)
    return _translator((b, a) for a, b in table), _translator(table)


def _translator(pairs: Iterable[tuple[str, str]]) -> Callable[[str], str | None]:
    rules = [(_pattern(source), _replacement(target)) for source, target in pairs]

    def translate(name: str) -> str | None:
        for pattern, replacement in rules:
            found = pattern.fullmatch(name)
            if found:
                return replacement.format_map(found.groupdict())
        return None

    return translate


def _pattern(template: str) -> re.Pattern[str]:
    literal = re.escape(template)
    literal = literal.replace(re.escape("{*}"), "(?P<rest>.+)")
    return re.compile(re.sub(r"\\\{([a-z])\\\}", r"(?P<\1>[0-9]+)", literal))


def _replacement(template: str) -> str:
    # `re.Match.expand` would parse its template for each of a thousand names
    return template.replace("{*}", "{rest}")
