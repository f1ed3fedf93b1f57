"""What the fields of descriptions are held to: a wrong one is refused in one sentence where it is built.

Each name is an attrs validator that raises :class:`~wan_core.contract.errors.PluginError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from wan_core.contract.conditioning import SLOTS
from wan_core.contract.errors import PluginError, nearest
from wan_core.contract.options import show

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]

FEATURE_SLOTS = (*SLOTS, "attention", "post")
"""What a feature may say that it writes."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def must_be(what: str, test: Callable[[Any], bool]) -> Validator:
    """Refuse a value that fails the test; ``what`` completes "must be …"."""

    def validate(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not test(value):
            raise PluginError(f"{title(owner)}: {field.name} must be {what}, not {show(value)}")

    return validate


def instance_of(sort: type) -> Validator:
    """Refuse a value of another class."""
    return must_be(f"a {sort.__name__}", lambda value: isinstance(value, sort))


def mapping_of(key: type, value: type, *, filled: bool = False) -> Validator:
    """Refuse what is no mapping from ``key`` to ``value``; ``filled`` refuses an empty one, too."""
    several = "at least one " if filled else ""
    return must_be(
        f"a mapping from {key.__name__} to {several}{value.__name__}",
        lambda given: (
            isinstance(given, Mapping)
            and (bool(given) or not filled)
            and all(isinstance(k, key) and isinstance(v, value) for k, v in given.items())
        ),
    )


def tuple_of(what: str, test: Callable[[Any], bool]) -> Validator:
    """Refuse what is no tuple, or has a member that fails the test."""
    return must_be(
        f"a tuple of {what}", lambda value: isinstance(value, tuple) and all(map(test, value))
    )


def title(owner: Any) -> str:
    """A description in messages: its sort, and its name where that is one."""
    name = getattr(owner, "name", None)
    return f'{type(owner).__name__} "{name}"' if _is_name(name) else type(owner).__name__


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable() and value == value.strip()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_guidance(value: Any) -> bool:
    pair = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    return all(map(_is_number, pair))


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_count, value))


def _is_repository(value: Any) -> bool:
    return isinstance(value, str) and bool(_REPOSITORY.fullmatch(value)) and ".." not in value


def is_inner_path(value: Any) -> bool:
    """Whether this is a path with ``/`` that stays inside its folder on every system."""
    return (
        isinstance(value, str)
        and value.isprintable()
        and not any(character in value for character in '\\:?"<>|')
        and all(part.strip() not in ("", ".", "..") for part in value.split("/"))
    )


def is_bundled(value: Any) -> bool:
    """Whether this names a file of an installed package: ``"package:path"``, or ``"path"`` of the core's."""
    if not isinstance(value, str):
        return False
    package, colon, path = value.rpartition(":")
    known = not colon or all(part.isidentifier() for part in package.split("."))
    return known and is_inner_path(path)


def hexadecimal(digits: int) -> Validator:
    """Refuse what is neither empty nor that many hexadecimal digits."""
    pattern = re.compile(f"([0-9a-f]{{{digits}}})?")
    return must_be(
        f"{digits} hexadecimal digits or empty",
        lambda value: isinstance(value, str) and bool(pattern.fullmatch(value)),
    )


text = must_be("text", _is_text)
optional_text = must_be("text or None", lambda value: value is None or _is_text(value))
name = must_be("a name of visible characters", _is_name)
names = tuple_of('names, such as ("one",)', _is_name)
flag = must_be("True or False", lambda value: isinstance(value, bool))
count = must_be("a whole number from 1", _is_count)
optional_count = must_be(
    "a whole number from 1, or None", lambda value: value is None or _is_count(value)
)
size_in_bytes = must_be(
    "a number of bytes",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
)
repository = must_be('a repository, such as "ORG/NAME"', _is_repository)
inner_path = must_be("a path inside the repository", is_inner_path)
_FILE_OF_A_PACKAGE = 'a file of an installed package, such as "wan_plugin_x:tiny/x.safetensors"'
bundled = must_be(
    _FILE_OF_A_PACKAGE + ", or None", lambda value: value is None or is_bundled(value)
)
all_bundled = tuple_of(
    'files of installed packages, such as ("wan_plugin_x:x.safetensors",)', is_bundled
)
counts = tuple_of("whole numbers from 1", _is_count)
number = must_be("a number", _is_number)
positive = must_be("a number above 0", lambda value: _is_number(value) and value > 0)
optional_number = must_be("a number or None", lambda value: value is None or _is_number(value))
guidance = must_be("a number or a pair (high noise, low noise)", _is_guidance)
sizes = tuple_of("sizes, such as ((832, 480),)", _is_size)
step_counts = must_be(
    "a mapping from width to a tuple of whole numbers from 1",
    lambda value: (
        isinstance(value, Mapping)
        and all(
            _is_count(width) and isinstance(steps, tuple) and all(map(_is_count, steps))
            for width, steps in value.items()
        )
    ),
)


PICTURES = ("image", "last_image", "continues")
"""What a family may take to start from."""

pictures = tuple_of(
    "names of pictures, of " + ", ".join(PICTURES),
    lambda value: value in PICTURES,
)


def one_of(*allowed: str) -> Validator:
    """Refuse what is none of some words."""
    return must_be("one of " + ", ".join(allowed), lambda value: value in allowed)


def slots(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Names of :data:`FEATURE_SLOTS` only."""
    names(owner, field, value)
    _known_slots(owner, field, value)


def slots_of_options(owner: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A mapping from names of :data:`FEATURE_SLOTS` to texts."""
    mapping_of(str, str)(owner, field, value)
    _known_slots(owner, field, value)


def _known_slots(owner: Any, field: attrs.Attribute[Any], value: Iterable[str]) -> None:
    for slot in value:
        if slot not in FEATURE_SLOTS:
            raise PluginError(
                f'{title(owner)}: {field.name} names the slot "{slot}", which there is not',
                remedy=nearest(slot, FEATURE_SLOTS),
            )
