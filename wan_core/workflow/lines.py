"""On which line of a TOML text does a key stand?

``tomllib`` gives values without places. This scanner walks over the same text and gives places
without values. It relies on ``tomllib`` having accepted the text, so it only has to find the keys:
strings, comments and numbers are passed over.

A *path* is a tuple of keys and list positions, ``("stages", 0, "steps")``; written out it is a
*key*, ``stages.0.steps``, with quotes around what is no bare TOML key.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterator

from wan_core.contract.options import show

KeyPath = tuple[str | int, ...]

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


LONGEST_KEY = 64
"""No key that means anything is longer; longer ones are shortened in messages."""


def write_key(path: KeyPath) -> str:
    """A path written out: ``stages.0.steps``, ``models."odd name".vae``."""
    return ".".join(map(_write_part, path))


def _write_part(part: str | int) -> str:
    if isinstance(part, int) or (len(part) <= LONGEST_KEY and BARE_KEY.fullmatch(part)):
        return str(part)
    return show(part)


def read_key(text: str) -> tuple[KeyPath, int]:
    """The dotted key at the start of ``text`` and where it ends. Every part is a string.

    Raises:
        ValueError: there is no key.
    """
    return _Scanner(text).key(0)


def read_where(key: str) -> KeyPath:
    """The path of a key that :func:`write_key` wrote: whole numbers are positions in lists.

    Raises:
        ValueError: ``key`` is none.
    """
    path, end = read_key(key) if key else ((), 0)
    if end != len(key):
        raise ValueError(f"{key!r} is no key")
    return tuple(int(part) if str(part).isdecimal() else part for part in path)


def find_lines(text: str) -> dict[KeyPath, int]:
    """KeyPath of every table, key and list item of a TOML text -> number of its line, from 1.

    The line of a table is that of its header, if it has one. ``text`` must be valid TOML with
    ``"\\n"`` at the ends of its lines.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


def ancestors(path: KeyPath) -> Iterator[KeyPath]:
    """The path itself, then its tables and lists from the nearest to the outermost."""
    for end in range(len(path), 0, -1):
        yield path[:end]


class _Scanner:
    """Methods take the position where their construct begins and return the one after its end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines: dict[KeyPath, int] = {}
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._counts: dict[KeyPath, int] = {}  # items so far of each array of tables

    def document(self) -> None:
        table: KeyPath = ()
        at = self._skip(_BLANK, 0)
        while at < len(self.text):
            if self.text.startswith("[", at):
                table, at = self._header(at)
            else:
                at = self._pair(at, table)
            at = self._skip(_BLANK, at)

    def key(self, at: int) -> tuple[KeyPath, int]:
        """A dotted key: its parts, and the position after it and the space that follows."""
        parts: list[str | int] = []
        while True:
            at = self._skip(_SPACE, at)
            if quoted := self.text[at : at + 1] in ('"', "'"):
                match = _STRING.match(self.text, at)
            else:
                match = BARE_KEY.match(self.text, at)
            if match is None:
                raise ValueError("a key is expected here")
            parts.append(_unquote(match[0]) if quoted else match[0])
            at = self._skip(_SPACE, match.end())
            if not self.text.startswith(".", at):
                return tuple(parts), at
            at += 1

    def _header(self, start: int) -> tuple[KeyPath, int]:
        """``[a.b]`` or ``[[a.b]]``: the table that the following pairs belong to."""
        brackets = 2 if self.text.startswith("[[", start) else 1
        parts, at = self.key(start + brackets)
        path: KeyPath = ()
        for part in parts[:-1]:
            path = self._current((*path, part))
            self._note(path, start)
        path = (*path, parts[-1])
        if brackets == 2:
            self._note(path, start)
            self._counts[path] = self._counts.get(path, 0) + 1
            path = (*path, self._counts[path] - 1)
        self.lines[path] = self._line(start)
        return path, at + brackets

    def _current(self, path: KeyPath) -> KeyPath:
        """A table's own path; for an array of tables its latest item."""
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _pair(self, start: int, table: KeyPath) -> int:
        """``key = value`` inside ``table``."""
        parts, at = self.key(start)
        for end in range(1, len(parts) + 1):
            self._note((*table, *parts[:end]), start)
        return self._value(self._skip(_SPACE, at + 1), (*table, *parts))

    def _value(self, at: int, path: KeyPath) -> int:
        opening = self.text[at]
        if opening == "[":
            return self._list(at + 1, path)
        if opening == "{":
            return self._inline_table(at + 1, path)
        pattern = _STRING if opening in "\"'" else _SCALAR
        match = pattern.match(self.text, at)
        assert match, "tomllib has accepted this text"
        return match.end()

    def _list(self, at: int, path: KeyPath) -> int:
        at = self._skip(_BLANK, at)
        index = 0
        while self.text[at] != "]":
            self._note((*path, index), at)
            at = self._after_comma(self._value(at, (*path, index)))
            index += 1
        return at + 1

    def _inline_table(self, at: int, path: KeyPath) -> int:
        at = self._skip(_BLANK, at)
        while self.text[at] != "}":
            at = self._after_comma(self._pair(at, path))
        return at + 1

    def _after_comma(self, at: int) -> int:
        at = self._skip(_BLANK, at)
        return self._skip(_BLANK, at + 1) if self.text[at] == "," else at

    def _skip(self, pattern: re.Pattern[str], at: int) -> int:
        match = pattern.match(self.text, at)
        return match.end() if match else at

    def _note(self, path: KeyPath, at: int) -> None:
        self.lines.setdefault(path, self._line(at))

    def _line(self, at: int) -> int:
        return bisect_left(self._line_ends, at) + 1


def _unquote(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0")))
