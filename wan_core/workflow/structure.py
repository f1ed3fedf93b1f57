"""From TOML values to typed values, strictly: nothing is converted that was not meant.

A class's annotations say what its keys may hold. cattrs chooses by annotation; the hooks here do
what it leaves open for hand-written files: true is no number, a number is no text, nan is nothing,
and what does not fit is reported with its place and in words.

Annotations that options may have: ``bool``, ``int``, ``float``, ``str``, ``pathlib.Path``,
``Literal``, attrs classes, ``tuple``, ``list`` and ``Sequence`` of these, ``Mapping`` and ``dict``
from ``str`` to these, and unions (``X | None`` for what may be left out).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin

import attrs
import cattrs

from wan_core.contract.errors import PluginError, WanCoreError, nearest
from wan_core.contract.options import OptionError, show, unprintable
from wan_core.workflow.lines import KeyPath, read_where, write_key

_T = TypeVar("_T")

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

REPORT = "report it to the plugin's author"
"""What to do about a plugin whose options can't be read."""


class MisfitError(Exception):
    """A value that does not fit; on its way up it collects the path that leads to it.

    Attributes:
        problem: ``"must be a number, not true"``, said of a key.
        path: from the table being read to the value.
        remedy: what to do.
        sentence: ``problem`` is a whole sentence and needs no key in front of it.
        right_kind: the value is of the kind that was asked for, but is a bad one.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: KeyPath = (),
        remedy: str = "",
        sentence: bool = False,
        right_kind: bool = False,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.remedy = remedy
        self.sentence = sentence
        self.right_kind = right_kind

    def under(self, part: str | int) -> MisfitError:
        """The same, seen from the table or list that holds it under ``part``."""
        self.path = (part, *self.path)
        return self

    def said_of(self, place: KeyPath) -> str:
        """The problem as a sentence; ``place`` is the whole path to the value."""
        if self.sentence:
            return self.problem
        # a position alone says nothing: "post.0" is named, not "0"
        start = max((i for i, part in enumerate(place) if isinstance(part, str)), default=0)
        return f"{write_key(place[start:])} {self.problem}"


class _UnknownAnnotationError(Exception):
    """An options class asks for something that TOML can't give."""


class Structurer:
    """Reads tables into attrs classes.

    Args:
        folder: what relative paths start from.
        outputs: names of what stages make (``"video"``), to tell a reference from a file's name.
    """

    def __init__(self, folder: Path, outputs: AbstractSet[str] = frozenset()) -> None:
        self.folder = folder
        self.outputs = outputs
        self._cattrs = cattrs.Converter(detailed_validation=False)
        hook = self._cattrs.register_structure_hook_func
        hook(lambda kind: True, _unknown)  # asked last: cattrs' own, laxer hooks are not wanted
        hook(_is_union, self._union)
        hook(_is_literal, _literal)
        hook(_is_sequence, self._sequence)
        hook(_is_mapping, self._mapping)
        hook(attrs.has, self._nested)
        for kind, read in (
            (bool, _flag),
            (int, _integer),
            (float, _number),
            (str, _text),
            (Path, self.path),
        ):
            self._cattrs.register_structure_hook(kind, _exactly(kind, read))

    def value(self, value: object, kind: Any) -> Any:
        """``value`` as ``kind``.

        Raises:
            MisfitError: it is none.
        """
        return self._cattrs.structure(value, kind)

    def table(
        self,
        table: Mapping[str, Any],
        cls: type[_T],
        what: str,
        *,
        given: Mapping[str, Any] | None = None,
        also: AbstractSet[str] = frozenset(),
    ) -> _T:
        """An instance of ``cls`` from the keys of ``table``.

        Args:
            what: the table in words, for messages: ``'the stage "generate"'``.
            given: attributes that are known already and are no keys.
            also: keys that are allowed and read by somebody else.

        Raises:
            MisfitError: an unknown key, a missing one, or a value that does not fit.
            PluginError: ``cls`` is broken.
        """
        given = given or {}
        fields = {name: f for name, f in options_of(cls).items() if name not in given}
        known = fields.keys() | also
        for key in table:
            if key not in known:
                remedy = nearest(key, known)
                if not fields and not remedy.startswith("did you mean"):
                    remedy = "it has no options"
                raise MisfitError(
                    f"{what} has no option {show(key)}", path=(key,), remedy=remedy, sentence=True
                )
        values = dict(given)
        for name, field in fields.items():
            if name in table:
                values[name] = self._field(table[name], name, field)
            elif field.default is attrs.NOTHING:
                remedy = f"add {name} = VALUE"
                if told := field.metadata.get("help"):
                    remedy += f" ({told})"
                raise MisfitError(
                    f"{what} needs {name}", remedy=remedy, sentence=True, right_kind=True
                )
        try:
            return cls(**values)
        except OptionError as error:
            path = _path_of(error.option)
            raise MisfitError(error.reason, path=path, remedy=error.remedy) from error
        except WanCoreError as error:
            raise MisfitError(error.problem, remedy=error.remedy, sentence=True) from error
        except (TypeError, ValueError) as error:
            said = error.args[0] if error.args else type(error).__name__
            raise MisfitError(f"{what}: {said}", sentence=True) from error
        except Exception as error:
            problem = f"{what} failed on its options ({error!r})"
            raise PluginError(problem, remedy=REPORT) from error

    def path(self, value: object) -> Path:
        """A path: absolute, from the home folder (``~``), or from the workflow's folder."""
        if not isinstance(value, str) or not value:
            raise MisfitError(f"must be a path in quotes, not {show(value)}")
        if problem := unprintable(value):
            raise MisfitError(problem, right_kind=True)
        if _ADDRESS.match(value):
            problem = f"is an address, {show(value)}, not a path"
            raise MisfitError(problem, remedy="name a file on this machine", right_kind=True)
        if not value.startswith("~"):  # "./~" is a file of that name
            return self.folder / value
        try:
            return Path(value).expanduser()
        except RuntimeError:
            problem = f"names a home folder that does not exist, {show(value)}"
            raise MisfitError(problem, right_kind=True) from None

    def _field(self, value: object, name: str, field: attrs.Attribute[Any]) -> Any:
        try:
            if field.metadata.get("raw"):
                return value
            if field.metadata.get("files") and isinstance(value, str):
                return value if self._is_reference(value) else self.path(value)
            return self.value(value, field.type)
        except MisfitError as misfit:
            raise misfit.under(name) from None
        except _UnknownAnnotationError as error:
            raise PluginError(
                f"the annotation of option {name}, {error}, is nothing that a workflow can give",
                remedy=REPORT,
            ) from None

    def _is_reference(self, value: str) -> bool:
        stage, dot, output = value.rpartition(".")
        return bool(stage and dot) and output in self.outputs and "/" not in stage

    def _nested(self, value: object, cls: Any) -> Any:
        if not isinstance(value, dict):
            raise MisfitError(f"must be a table, not {show(value)}")
        return self.table(value, cls, "this table")

    def _sequence(self, value: object, kind: Any) -> Any:
        if not isinstance(value, list):
            raise MisfitError(f"must be {in_words(kind)}, not {show(value)}")
        kinds = get_args(kind)
        if get_origin(kind) is tuple and kinds[-1] is not Ellipsis:
            if len(value) != len(kinds):
                raise MisfitError(f"must be {in_words(kind)}, not {show(value)}")
        else:
            kinds = (kinds[0],) * len(value)
        items = [self._item(one, index, kinds[index]) for index, one in enumerate(value)]
        return items if get_origin(kind) is list else tuple(items)

    def _mapping(self, value: object, kind: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise MisfitError(f"must be a table, not {show(value)}")
        return {key: self._item(one, key, get_args(kind)[1]) for key, one in value.items()}

    def _item(self, value: object, part: str | int, kind: Any) -> Any:
        try:
            return self.value(value, kind)
        except MisfitError as misfit:
            raise misfit.under(part) from None

    def _union(self, value: object, kind: Any) -> Any:
        """The first member that fits. When none does, the one that got furthest tells why."""
        misfits: list[MisfitError] = []
        members = _members(kind)
        for member in members:
            try:
                return self.value(value, member)
            except MisfitError as misfit:
                misfits.append(misfit)
        furthest = max(misfits, key=lambda misfit: (len(misfit.path), misfit.right_kind))
        if furthest.path or furthest.right_kind or len(members) == 1:
            raise furthest
        raise MisfitError(f"must be {in_words(kind)}, not {show(value)}")


def options_of(cls: type[Any]) -> dict[str, attrs.Attribute[Any]]:
    """Key -> attribute of an attrs class, with annotations resolved.

    Raises:
        PluginError: ``cls`` is no attrs class, or an annotation names something that is not there.
    """
    try:
        attrs.resolve_types(cls)
        return {field.alias or field.name: field for field in attrs.fields(cls) if field.init}
    except (TypeError, NameError, attrs.exceptions.NotAnAttrsClassError) as error:
        raise PluginError(
            f"the options class {cls!r} can't be read ({error})", remedy=REPORT
        ) from error


def _path_of(option: str) -> KeyPath:
    """The path of ``"guidance.scale"``; a plugin may have put any text there."""
    try:
        return read_where(option)
    except ValueError:
        return (option,)


def in_words(kind: Any) -> str:
    """What an annotation wants: ``"a number or a list of 2 numbers"``."""
    return " or ".join(_noun(member) for member in _members(kind))


def _noun(kind: Any, plural: bool = False) -> str:
    nouns = _NOUNS.get(kind)
    if nouns:
        return nouns[plural]
    if _is_literal(kind):
        return "one of " + ", ".join(map(show, get_args(kind)))
    if _is_sequence(kind):
        kinds = get_args(kind)
        fixed = get_origin(kind) is tuple and kinds[-1] is not Ellipsis
        if fixed and len(set(kinds)) > 1:
            items = " and ".join(map(in_words, kinds))
        else:
            items = " or ".join(_noun(member, plural=True) for member in _members(kinds[0]))
            items = f"{len(kinds)} {items}" if fixed else items
        return f"{'lists' if plural else 'a list'} of {items}"
    return "tables" if plural else "a table"


_NOUNS = {
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    Path: ("a path in quotes", "paths"),
}


def _members(kind: Any) -> tuple[Any, ...]:
    if not _is_union(kind):
        return (kind,)
    return tuple(member for member in get_args(kind) if member is not NoneType)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _is_sequence(kind: Any) -> bool:
    return get_origin(kind) in (tuple, list, Sequence)


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) in (dict, Mapping) and get_args(kind)[:1] == (str,)


def _exactly(kind: type, read: Callable[[object], Any]) -> Callable[[object, Any], Any]:
    """A hook for ``kind`` but not for its subclasses (an Enum of texts is no text)."""

    def hook(value: object, asked: Any) -> Any:
        return read(value) if asked is kind else _unknown(value, asked)

    return hook


def _unknown(value: object, kind: Any) -> NoReturn:
    raise _UnknownAnnotationError(str(kind))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise MisfitError(f"must be true or false, not {show(value)}")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MisfitError(f"must be a whole number, not {show(value)}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MisfitError(f"must be a number, not {show(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MisfitError(f"must be a finite number, not {show(value)}")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MisfitError(f"must be text, not {show(value)}")
    if problem := unprintable(value):
        raise MisfitError(problem, right_kind=True)
    return value


def _literal(value: object, kind: Any) -> Any:
    for allowed in get_args(kind):
        if value == allowed and type(value) is type(allowed):
            return allowed
    raise MisfitError(f"must be {in_words(kind)}, not {show(value)}")
