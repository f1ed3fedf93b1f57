"""Fields for options classes: typed, bounded, explained.

The options of a stage or a feature are an attrs class. Plain annotated attributes work; these
fields add bounds, a sentence of help, and errors that a user understands::

    @attrs.frozen
    class BlurOptions:
        radius: int = integer(1, 64, default=4, help="radius of the blur in pixels")
        mask: Path | None = path(default=None, help="picture; white is blurred")

What a field refuses, it refuses in the workflow file (with line and key) and in Python alike. A
default of None makes None allowed: "not given". Arguments that all fields share:

* ``default``: leave it out for an option that must be given;
* ``help``: one line for people, shown in the reference;
* ``unset``: what happens when the option is not given, e.g. ``"the family's preset"``.

The metadata of a field tells tools about it: ``help``, ``unset``, ``allowed`` (the allowed values
in words) and, where it applies, ``source``, ``files``, ``registry``, ``raw``, ``write``, ``sweep``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WorkflowError, nearest

SEED_LIMIT = 2**63 - 1
"""The largest seed."""

_LONGEST_SHOWN = 48


class OptionError(WorkflowError):
    """An option has a value that it can't have.

    Args:
        option: the option's name.
        problem: the rest of the sentence: ``"must be from 1 to 1000, not 0"``.
        remedy: what to do about it.
    """

    def __init__(self, option: str, problem: str, *, remedy: str = "") -> None:
        super().__init__(f"{option} {problem}", remedy=remedy)
        self.option = option
        self.reason = problem
        self.args = (option, problem)


def integer(
    minimum: int,
    maximum: int,
    *,
    default: Any = attrs.NOTHING,
    help: str = "",
    unset: str = "",
    sweep: bool = False,
) -> Any:
    """A whole number from ``minimum`` to ``maximum``; see :func:`text` for ``sweep``."""
    allowed = f"a whole number from {minimum} to {maximum}"

    def check(value: Any, name: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise OptionError(name, f"must be a whole number, not {show(value)}")
        if not minimum <= value <= maximum:
            raise OptionError(name, f"must be from {minimum} to {maximum}, not {show(value)}")
        return value

    return checked_field(
        check, default=default, allowed=allowed, help=help, unset=unset, sweep=sweep
    )


def seed(*, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """A seed: a whole number from 0 to :data:`SEED_LIMIT`. A list of seeds is a sweep."""
    return integer(0, SEED_LIMIT, default=default, help=help, unset=unset, sweep=True)


def number(
    minimum: float,
    maximum: float,
    *,
    default: Any = attrs.NOTHING,
    help: str = "",
    unset: str = "",
) -> Any:
    """A finite number from ``minimum`` to ``maximum``; whole numbers become floats."""

    def check(value: Any, name: str) -> float:
        return _bounded(value, name, minimum, maximum, "a number")

    allowed = f"a number from {minimum:g} to {maximum:g}"
    return checked_field(check, default=default, allowed=allowed, help=help, unset=unset)


def numbers(
    minimum: float,
    maximum: float,
    *,
    default: Any = attrs.NOTHING,
    help: str = "",
    unset: str = "",
) -> Any:
    """A finite number, or a list of 1 to 1000 of them (a schedule).

    Annotate the attribute ``tuple[float, ...]``: a single number becomes a tuple of one.
    """
    kind = "a number or a list of 1 to 1000 numbers"

    def check(value: Any, name: str) -> tuple[float, ...]:
        listed = value if isinstance(value, list | tuple) else (value,)
        if not 1 <= len(listed) <= 1000:
            raise OptionError(name, f"must be {kind}, not {show(value)}")
        return tuple(_bounded(one, name, minimum, maximum, kind) for one in listed)

    allowed = f"a number from {minimum:g} to {maximum:g}, or a list of 1 to 1000 such numbers"
    return checked_field(check, default=default, allowed=allowed, help=help, unset=unset, raw=True)


def flag(*, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """True or false."""

    def check(value: Any, name: str) -> bool:
        if not isinstance(value, bool):
            raise OptionError(name, f"must be true or false, not {show(value)}")
        return value

    return checked_field(check, default=default, allowed="true or false", help=help, unset=unset)


def text(
    max_length: int = 10_000,
    *,
    min_length: int = 0,
    default: Any = attrs.NOTHING,
    help: str = "",
    unset: str = "",
    sweep: bool = False,
) -> Any:
    """Text of at most ``max_length`` characters; no control characters but line ends and tabs.

    Args:
        sweep: a workflow may give a list: one run for each item (see ``workflow/sweeps.py``).
    """

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise OptionError(name, f"must be text, not {show(value)}")
        if len(value) > max_length:
            raise OptionError(
                name, f"has {len(value)} characters, the most it may have is {max_length}"
            )
        if len(value) < min_length:
            raise OptionError(name, "must not be empty" if not value else "is too short")
        if problem := unprintable(value):
            raise OptionError(name, problem)
        return value

    allowed = f"text of at most {max_length} characters"
    return checked_field(
        check, default=default, allowed=allowed, help=help, unset=unset, sweep=sweep
    )


def choice(*names: str, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """One of ``names``."""
    allowed = _either([show(name) for name in names])

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or value not in names:
            close = nearest(value, names) if isinstance(value, str) else ""
            hint = close if close.startswith("did you mean") else ""
            raise OptionError(name, f"must be {allowed}, not {show(value)}", remedy=hint)
        return value

    return checked_field(check, default=default, allowed=allowed, help=help, unset=unset)


def path(*, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """A file or folder. In a workflow it starts from the workflow's folder; ``~`` is the home."""

    return checked_field(_path, default=default, allowed="a path", help=help, unset=unset)


def paths(most: int, *, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """At most ``most`` files or folders, like :func:`path`. Annotate the attribute ``tuple[Path, ...]``."""
    allowed = f"a list of at most {most} paths"

    def check(value: Any, name: str) -> tuple[Path, ...]:
        if not isinstance(value, list | tuple) or len(value) > most:
            raise OptionError(name, f"must be {allowed}, not {show(value)}")
        return tuple(_path(one, f"{name}.{index}") for index, one in enumerate(value))

    return checked_field(check, default=default, allowed=allowed, help=help, unset=unset)


def source(
    *, files: bool = False, default: Any = attrs.NOTHING, help: str = "", unset: str = ""
) -> Any:
    """What an earlier stage made: ``"NAME.video"``, checked against the stages above.

    With ``files`` a path is allowed too; then annotate the attribute ``str | Path``: a reference
    stays text and a file becomes a path.
    """
    allowed = 'the output of an earlier stage, such as "generate.video"'
    if files:
        allowed += ", or a file"

    def check(value: Any, name: str) -> str | Path:
        if (isinstance(value, str) and value) or (files and isinstance(value, Path)):
            if problem := unprintable(str(value)):
                raise OptionError(name, problem)
            return value
        raise OptionError(name, f"must be {allowed}, not {show(value)}")

    return checked_field(
        check, default=default, allowed=allowed, help=help, unset=unset, source=True, files=files
    )


def registered(sort: str, *, default: Any = attrs.NOTHING, help: str = "", unset: str = "") -> Any:
    """The name of something that plugins bring; a workflow that names an unknown one is refused.

    Args:
        sort: ``"family"``, ``"stage"``, ``"feature"``, ``"solver"`` or ``"attention_backend"``.
    """

    def check(value: Any, name: str) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise OptionError(name, f"must be {allowed}, not {show(value)}")
        return value

    allowed = f"the name of {with_article(sort.replace('_', ' '))}"
    return checked_field(
        check, default=default, allowed=allowed, help=help, unset=unset, registry=sort
    )


def show(value: object) -> str:
    """A value as a workflow writes it, for messages: safe to print, texts (not paths) shortened."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            short = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
            return _quoted(short)
        case int():
            return str(value) if value.bit_length() <= 128 else "a huge number"
        case float():
            return repr(value)
        case Path():
            return _quoted(str(value))
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case dict():
            return "a table"
    return with_article(type(value).__name__)


def unprintable(value: str) -> str:
    """What is wrong with the characters of a text, as the rest of a sentence; or ``""``."""
    for character in value:
        code = ord(character)
        if (code < 32 and character not in "\n\t") or 0x7F <= code < 0xA0:
            return f"has a control character (U+{code:04X}) in it"
        if 0xD800 <= code < 0xE000:
            return "has bytes in it that are no text"
    return ""


def checked_field(
    check: Callable[[Any, str], Any],
    *,
    default: Any,
    allowed: str,
    help: str,
    unset: str,
    **metadata: Any,
) -> Any:
    """A field with a check of its own.

    Args:
        check: ``check(value, name)`` returns what counts; raises :class:`OptionError`.
        allowed: the allowed values in words.
        metadata: more that tools are told.
    """

    def convert(value: Any, field: attrs.Attribute[Any]) -> Any:
        if value is None and default is None:
            return None
        return check(value, field.alias or field.name)

    if metadata.get("sweep"):
        allowed += "; a list of them is a sweep"
    told = {"help": help, "unset": unset, "allowed": allowed, **metadata}
    return attrs.field(
        default=default, converter=attrs.Converter(convert, takes_field=True), metadata=told
    )


def _path(value: Any, name: str) -> Path:
    if not isinstance(value, str | Path):
        raise OptionError(name, f"must be a path, not {show(value)}")
    if not str(value):
        raise OptionError(name, "must be a path, not empty text")
    if problem := unprintable(str(value)):
        raise OptionError(name, problem)
    return Path(value)


def _bounded(value: Any, name: str, minimum: float, maximum: float, kind: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(name, f"must be {kind}, not {show(value)}")
    if not minimum <= value <= maximum:
        said = show(value).removesuffix(".0")
        raise OptionError(name, f"must be from {minimum:g} to {maximum:g}, not {said}")
    return float(value)


def _quoted(text: str) -> str:
    return '"' + "".join(map(_visible, text)) + '"'


def _visible(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _either(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" or {names[-1]}"


def with_article(noun: str) -> str:
    """``a file``, ``an image``."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
