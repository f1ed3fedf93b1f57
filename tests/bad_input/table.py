"""The table of bad input: what people give to wan-core by mistake, and the sentence that answers.

The tests run every case through the command line (``test_bad_input.py``); the page
``docs/guide/my-file-does-not-load.md`` is made from the same table (``docs/make_troubles.py``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

import attrs
from makers import Maker


@attrs.frozen
class Case:
    """One mistake.

    Attributes:
        name: of the test.
        says: the sentence on stderr. ``{folder}`` stands for the folder of the files, ``{any}`` for
            what differs from machine to machine.
        files: path in the folder -> how it is made.
        run: the command line, from that folder.
        code: the exit code.
        given: what else is so, see ``CONDITIONS`` in ``test_bad_input.py``.
        environment: variables; ``{folder}`` stands for the folder here, too.
        usage: it is refused before the command runs, so that ``--json`` prints nothing.
    """

    name: str
    says: str
    files: Mapping[str, Maker] = attrs.field(factory=dict)
    run: str | Sequence[str] = "run w.toml"
    code: int = attrs.field(default=2, kw_only=True)
    given: Sequence[str] = attrs.field(default=(), kw_only=True)
    environment: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    usage: bool = attrs.field(default=False, kw_only=True)

    @property
    def arguments(self) -> list[str]:
        """The command line in parts."""
        return shlex.split(self.run) if isinstance(self.run, str) else list(self.run)

    @property
    def command(self) -> str:
        """The command that refuses; empty when the command line is refused before one runs."""
        return "" if self.usage else self.arguments[0]

    @property
    def everyday(self) -> bool:
        """Whether people meet it who do not try to break things; the others are left out of the page."""
        absurd = any(len(one) > 500 for one in (*self.arguments, *self.environment.values()))
        return not (absurd or re.search(r"\\[xun]|(\S)\1{9}", self.says))


@attrs.frozen
class Trouble:
    """Cases that have one explanation.

    Attributes:
        title: in a few words, as a heading.
        means: what has happened, in plain words.
        do: what to do about it.
    """

    title: str
    means: str
    do: str
    cases: Sequence[Case]


@attrs.frozen
class Group:
    """Troubles of one sort."""

    title: str
    troubles: Sequence[Trouble]


def groups() -> list[Group]:
    """The whole table."""
    from troubles import (
        command_line,
        looking,
        loras,
        machine,
        options,
        output,
        pictures,
        quantising,
        rerun,
        strangers,
        text,
        vace,
        weights,
    )

    modules = (
        weights,
        loras,
        quantising,
        pictures,
        vace,
        text,
        options,
        machine,
        output,
        rerun,
        looking,
        strangers,
        command_line,
    )
    return [module.GROUP for module in modules]


def cases() -> list[Case]:
    """Every case of the table."""
    return [case for group in groups() for trouble in group.troubles for case in trouble.cases]
