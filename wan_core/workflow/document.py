"""From a file to a TOML table and its lines, with syntax errors in plain words."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from wan_core.contract.errors import ResourceError, WorkflowError, nearest
from wan_core.contract.options import show
from wan_core.weights.places import START_BYTES, sort_of
from wan_core.workflow.lines import LONGEST_KEY, KeyPath, find_lines

SIZE_LIMIT = 2**20
"""A workflow is written by hand: more bytes than this are some other file."""

_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_QUOTE = 'put text in double quotes, as in prompt = "a red circle"'
_TWICE = "keep one of them"
_TWICE_OR_STAGES = "keep one of them, or write [[stages]] in double brackets if it is a stage"

_KEY = re.compile(r"\s*(?:\[{1,2}\s*)?([A-Za-z0-9_.-]+)")
_MANY_DIGITS = re.compile(r"[\d_]{4000,}")
_NEXT_PAIR = re.compile(r"[A-Za-z0-9_.-]+\s*=|\[")

# what a file is by its first bytes -> that in words
_STRANGERS = {
    **dict.fromkeys(("safetensors", "gguf", "pickle"), "a weight file"),
    "zip": "an archive or a weight file",
    "picture": "a picture",
    "video": "a video",
    "sound": "a sound file",
    "document": "a PDF document",
    "archive": "a compressed archive",
    "web page": "a web page",
    "json": "a JSON file, perhaps a workflow of ComfyUI",
}

# how a message of tomllib begins -> what is wrong, what to do
_PLAIN_WORDS = (
    ("Invalid value", "no value can be read here", _QUOTE),
    ("Invalid statement", "this line is neither key = value nor [table]", ""),
    ("Expected '='", "this key has no value", "write key = value, as in steps = 20"),
    ("Expected newline", "more stands here than a value", f"begin a new line, or {_QUOTE}"),
    ("Cannot overwrite", "this key is given twice", _TWICE),
    ("Duplicate inline", "this key is given twice", _TWICE),
    ("Cannot declare", "this table is given twice", _TWICE_OR_STAGES),
    ("Cannot redefine", "this table is given twice", _TWICE_OR_STAGES),
    ("Cannot mutate", "a closed list or table can't be added to", "write all of it in one place"),
    ("Unclosed array", "this list is not closed", "put commas between its items and ] at its end"),
    ("Unclosed inline", "this table in braces is not closed", "end it with }"),
    ("Expected ']", "the name of this table is not closed", "end it with as many ] as it has ["),
    ("Expected ", "this text is not closed", "end it with its quotation mark"),
    ("Unterminated string", "this text is not closed", "end it with its quotation mark"),
    (
        "Invalid initial",
        "a key is missing or begins with an odd character",
        "put odd keys in quotes",
    ),
    (
        "Unescaped '\\'",
        "a backslash in double quotes has a meaning",
        "write / or use single quotes",
    ),
    ("Invalid hex", "an escape such as \\u00e9 is cut short", ""),
    ("Escaped character", "this escape stands for no character", ""),
    ("Illegal character '\\n'", "this text does not end on its line", 'end it with ", or use """'),
    ("Illegal character", "there is a control character in this text", "remove it"),
    ("Found invalid", "there is a control character on this line", "remove it"),
)
# how a bad value begins -> what to do
_BAD_VALUES = (
    ("True", "write true, in small letters"),
    ("False", "write false, in small letters"),
    ("None", "leave the key out"),
    (".", "write a digit before the point"),
    ("“", "use plain double quotes"),
    ("„", "use plain double quotes"),
    ("‘", "use plain single quotes"),
)


def read_text(path: Path) -> str:
    """The text of a workflow file.

    Raises:
        WorkflowError: there is no such file, it is a folder, too large, or not UTF-8.
        ResourceError: it can't be opened.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        if path.is_symlink():
            raise WorkflowError(
                f"{show(path)} is a link that leads nowhere", remedy="make it again"
            ) from None
        raise WorkflowError(
            f"there is no file {show(path)}", remedy=_suggest(path) or "check the path"
        ) from None
    except IsADirectoryError:
        raise WorkflowError(
            f"{show(path)} is a folder", remedy=_suggest(path / "workflow.toml") or "name a file"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ResourceError(f"{show(path)} can't be opened ({reason})") from error
    if stranger := _STRANGERS.get(sort_of(data[:START_BYTES])):
        raise WorkflowError(
            f"{show(path)} is {stranger}, and no workflow of wan-core",
            remedy="name a workflow.toml",
        )
    if len(data) > SIZE_LIMIT:
        raise WorkflowError(
            f"{show(path)} is larger than {SIZE_LIMIT // 1024} KiB, so it is no workflow",
            remedy="name a workflow.toml",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise WorkflowError(
            "the file is not UTF-8 text",
            where=f"{path.name}, line {line}",
            remedy="save it with the encoding UTF-8",
        ) from None


def read_document(text: str, name: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """The table of a TOML text and the line of each of its keys.

    Raises:
        WorkflowError: the text is empty or no TOML.
    """
    if not text.strip():
        raise WorkflowError(
            "the file is empty", where=name, remedy='a workflow begins with "format = 1"'
        )
    text = text.replace("\r\n", "\n")
    try:
        return tomllib.loads(text), find_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise _in_plain_words(str(error), text, name) from None
    except RecursionError:
        raise WorkflowError(
            "lists or tables are nested too deeply", where=name, remedy="flatten them"
        ) from None
    except ValueError:
        # Python refuses to read whole numbers of several thousand digits
        before, *_ = _MANY_DIGITS.split(text, 1)
        where = f"{name}, line {before.count(chr(10)) + 1}"
        raise WorkflowError("a number has too many digits", where=where) from None


def _in_plain_words(message: str, text: str, name: str) -> WorkflowError:
    """What tomllib says, for people who don't know its words."""
    place = _PLACE.search(message)
    said = _PLACE.sub("", message)
    if place and place[1]:
        row, column = int(place[1]), int(place[2])
        line = text.split("\n")[row - 1]
        where = f"{name}, line {row}, column {column}"
    else:
        row, column = text.rstrip().count("\n") + 1, 0
        line = text.rstrip().split("\n")[-1]
        where = f"{name}, line {row}"
    if key := _KEY.match(line):
        where += f", {key[1] if len(key[1]) <= LONGEST_KEY else show(key[1])}"
    for beginning, problem, remedy in _PLAIN_WORDS:
        if said.startswith(beginning):
            if beginning == "Invalid value":
                value = line[column - 1 :].strip() if column else ""
                problem, remedy = _about_value(value, problem, remedy)
            return WorkflowError(problem, where=where, remedy=remedy)
    return WorkflowError(f"this is no TOML ({said})", where=where)


def _about_value(value: str, problem: str, remedy: str) -> tuple[str, str]:
    if not value or value.startswith("#"):
        return "this key has no value", "write one, or remove the key"
    if _NEXT_PAIR.match(value):
        return "a list above is not closed", "end it with ]"
    return problem, next((do for start, do in _BAD_VALUES if value.startswith(start)), remedy)


def _suggest(path: Path) -> str:
    """A remedy that names a workflow beside a file that is not there; empty when there is none."""
    try:
        found = sorted(one.name for one in path.parent.glob("*.toml"))
    except OSError:
        return ""
    return nearest(path.name, [name for name in found if name.isprintable()][:12])
