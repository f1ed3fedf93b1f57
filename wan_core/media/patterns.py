"""``Pattern``: names of numbered pictures, such as ``%05d.png``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import attrs

from wan_core.contract.errors import MediaError
from wan_core.contract.options import show

_FIELD = re.compile(r"%(?:0?([1-9]))?d")
_DIGITS = re.compile(r"[0-9]")
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)


@attrs.frozen
class Pattern:
    """Names that differ in a number.

    Attributes:
        start, end: what surrounds the number.
        digits: its least length; zeros are put before it.
    """

    start: str
    digits: int
    end: str

    @classmethod
    def of(cls, path: Path, *, where: str = "") -> Pattern:
        """The pattern that the last part of ``path`` is.

        Raises:
            MediaError: it has no field for the number, or several.
        """
        fields = list(_FIELD.finditer(path.name))
        signs = path.name.count("%")
        if len(fields) == signs == 1:
            start, end = path.name[: fields[0].start()], path.name[fields[0].end() :]
            # other digits would make a frame's name ambiguous
            if not _DIGITS.search(start[-1:] + end):
                return cls(start, int(fields[0][1] or 1), end)
        problem = "must have one such field, with no digits next to it or after it"
        raise MediaError(
            f"{path.suffix} is written frame by frame, and the name {show(path.name)} "
            + (problem if signs else "has no field for the number of the frame"),
            where=where,
            remedy=f'write it like "{suggested(path)}"',
        )

    @classmethod
    def found_in(cls, names: Iterable[str], *, like: str | None = None) -> Pattern | None:
        """The one pattern that the numbered ``names`` fit; None when there is none, or several.

        Args:
            like: only names are counted that differ from this one in the number.
        """
        wanted = _ends(like) if like is not None else None
        digits = 0
        for name in names:
            if (match := _NUMBERED.fullmatch(name)) is None:
                continue
            ends = (match[1], match[3])
            if wanted is None:
                wanted = ends
            if ends == wanted:
                digits = min(digits or len(match[2]), len(match[2]))
            elif like is None:
                return None
        return cls(wanted[0], digits, wanted[1]) if wanted and digits else None

    def name(self, number: int) -> str:
        """The name with that number."""
        return f"{self.start}{number:0{self.digits}d}{self.end}"

    def number(self, name: str) -> int | None:
        """The number in a name of this pattern; None for other names."""
        digits = name[len(self.start) : len(name) - len(self.end)]
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            return None
        return int(digits) if name == self.name(int(digits)) else None


def suggested(path: Path) -> str:
    """A path like ``path`` that frames can be written to."""
    folder = path.name.partition("%")[0].removesuffix(path.suffix).rstrip("-_. ") or "clip"
    return f"{folder}/%05d{path.suffix}"


def _ends(name: str) -> tuple[str, str] | None:
    match = _NUMBERED.fullmatch(name)
    return (match[1], match[3]) if match else None
