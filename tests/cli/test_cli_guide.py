"""The guide's tables say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from wan_core.cli.app import BUILT_IN
from wan_core.cli.failures import BROKEN_PIPE, INTERNAL_ERROR, explain
from wan_core.cli.rerun import DIFFERENT
from wan_core.contract import errors, events
from wan_core.contract.lazy import resolve

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "command-line.md"


def table(section: str) -> list[list[str]]:
    """The cells of the table in a section, without its head."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_exit_codes() -> None:
    documented = {name: int(code) for code, _, name in table("Exit codes") if name.startswith("`")}
    real = {f"`{one.__name__}`": one.exit_code for one in errors.WanCoreError.__subclasses__()}
    assert documented == real
    others = {int(code) for code, _, name in table("Exit codes") if not name.startswith("`")}
    assert others == {0, INTERNAL_ERROR, BROKEN_PIPE, DIFFERENT}


@pytest.mark.parametrize("kind", errors.WanCoreError.__subclasses__())
def test_the_command_line_uses_the_class_of_the_error(kind: type[errors.WanCoreError]) -> None:
    assert explain(kind("it is", where="here", remedy="do")) == ("here: it is; do.", kind.exit_code)


def test_events() -> None:
    documented = {
        name.strip("`"): re.findall(r"`(\w+)`", fields)
        for name, fields, _ in table("The events of `run --json`")
    }
    real = {
        one.__name__: [
            field.name for field in attrs.fields(one) if events.PICTURES not in field.metadata
        ]
        for one in events.Event.__subclasses__()
    }
    assert documented == real


@pytest.mark.parametrize("name", ["run", "doctor"])
def test_options(name: str) -> None:
    command = resolve(BUILT_IN[name].run)
    documented = {
        match.group() for cell, _ in table(name) if (match := re.match(r"`(--?[\w-]+)", cell))
    }
    options = [set(p.opts) for p in command.params if p.param_type_name == "option"]
    assert all({name.strip("`") for name in documented} & names for names in options)
    assert len(documented) == len(options)


def test_options_of_pull() -> None:
    from wan_core.cli.pull.command import pull

    documented = {
        name for cell, _ in table("models, plugins") for name in re.findall("--[a-z-]+", cell)
    }
    assert documented == {name for p in pull.params for name in p.opts if name.startswith("--")}
