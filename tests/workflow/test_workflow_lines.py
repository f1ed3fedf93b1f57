from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_core.workflow.lines import ancestors, find_lines, read_key, read_where, write_key

EXAMPLE = '''\
# a comment with [brackets] and = signs
format = 1

[model]  # short for models.main
family = "tiny-t2v"
transformer = { high = "a.safetensors", "low" = 'b # no comment' }

[[stages]]
use = "generate"
prompt = """
one line
[stages.apply]
seed = 5 \\
"quoted\\""""
    steps = 20
sizes = [ # of everything
    [1, 2],
    { w = 3, h = 4 }, # the last

]
deep.er.key = 1979-05-27 07:32:00

[[stages.apply]]
use = "ati"
tracks = \'\'\'
x\'\'\'
[[stages.apply]]
use = "plain"

[[stages]]
"name" = "odd"
[stages."a b"]
'c.d' = 1
[output]
path="out.mp4"
'''


def test_every_construct_has_its_line() -> None:
    lines = {write_key(path): line for path, line in find_lines(EXAMPLE).items()}
    assert lines == {
        "format": 2,
        "model": 4,
        "model.family": 5,
        "model.transformer": 6,
        "model.transformer.high": 6,
        "model.transformer.low": 6,
        "stages": 8,
        "stages.0": 8,
        "stages.0.use": 9,
        "stages.0.prompt": 10,
        "stages.0.steps": 15,
        "stages.0.sizes": 16,
        "stages.0.sizes.0": 17,
        "stages.0.sizes.0.0": 17,
        "stages.0.sizes.0.1": 17,
        "stages.0.sizes.1": 18,
        "stages.0.sizes.1.w": 18,
        "stages.0.sizes.1.h": 18,
        "stages.0.deep": 21,
        "stages.0.deep.er": 21,
        "stages.0.deep.er.key": 21,
        "stages.0.apply": 23,
        "stages.0.apply.0": 23,
        "stages.0.apply.0.use": 24,
        "stages.0.apply.0.tracks": 25,
        "stages.0.apply.1": 27,
        "stages.0.apply.1.use": 28,
        "stages.1": 30,
        "stages.1.name": 31,
        'stages.1."a b"': 32,
        'stages.1."a b"."c.d"': 33,
        "output": 34,
        "output.path": 35,
    }
    assert set(find_lines(EXAMPLE)) == set(paths_of(tomllib.loads(EXAMPLE)))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("[a.b]\nx = 1\n[a]\ny = 1", "a", 3),  # a table's own header, not the first mention
        ("[a.b]\nx = 1", "a", 1),
        ('a = """"quotes" at both ends"""""\nb = 1', "b", 2),
        ("a = ''''it''s'''''\nb = 1", "b", 2),
        ('a = ""\nb = 1', "b", 2),
        ("a = []\nb = 1", "b", 2),
        ("a = [\n\n1 ,\n2\n,]\nb = 1", "a.1", 4),
        ("a = {}\nb = {c.d = 1}", "b.c.d", 2),
        ("a = [{b = [[1],\n[2]]}]\n\nc = 1", "a.0.b.1", 2),
        ("[[a]]\n[[a.b]]\n[[a.b]]\n[a.b.c]\nd = 1\n[[a]]\n[[a.b]]\ne = 1", "a.0.b.1.c.d", 5),
        ("[[a]]\n[[a.b]]\n[[a.b]]\n[a.b.c]\nd = 1\n[[a]]\n[[a.b]]\ne = 1", "a.1.b.0.e", 8),
    ],
)
def test_line_of(text: str, key: str, line: int) -> None:
    assert find_lines(text)[read_where(key)] == line


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every path that ``tomllib`` found."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for part, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_of(one, (*path, part))


class _Names:
    """Keys that say which they are, so that a line can be checked by looking at it."""

    FORMS = ("{}", "{}", '"{}"', "'{}'", '"{} # é.[x]"', '"\\u00e9{}\\""', "'{}\\\"=1'")

    def __init__(self) -> None:
        self.count = 0

    def new(self, draw: st.DrawFn) -> str:
        self.count += 1
        return draw(st.sampled_from(self.FORMS)).format(f"k{self.count}_")

    def dotted(self, draw: st.DrawFn) -> str:
        dot = draw(st.sampled_from([".", " . ", "\t."]))
        return dot.join(self.new(draw) for _ in range(draw(st.integers(1, 3))))


SCALARS = (
    "1",
    "0xFf",
    "1_000.5e-3",
    "true",
    "nan",
    "1979-05-27 07:32:00Z",
    "07:32:00",
    '"plain"',
    '"# [x] = {1} \\" \\\\"',
    "'lit # \\'",
    '""',
    "''",
    '"""one\ntwo = 2 # "" \\"""\n[three]"""',
    "'''one\n\"\"\" [[x]]\n'''",
    '""""""',
    '"""two quotes"""""',
)
GAPS = ("", " ", "\n", ' # not [a] "key" = 1\n', "\n\t\n")


@st.composite
def documents(draw: st.DrawFn) -> str:
    names = _Names()

    def gap() -> str:
        return draw(st.sampled_from(GAPS))

    def value(depth: int) -> str:
        kind = draw(st.integers(0, 5 if depth else 3))
        if kind == 4:
            items = [gap() + value(depth - 1) + gap() for _ in range(draw(st.integers(0, 3)))]
            return (
                "[" + ",".join(items) + ("," + gap() if items and draw(st.booleans()) else "") + "]"
            )
        if kind == 5:
            pairs = [pair(depth - 1) for _ in range(draw(st.integers(0, 3)))]
            return "{ " + " , ".join(pairs) + " }"
        return draw(st.sampled_from(SCALARS))

    def pair(depth: int) -> str:
        equals = draw(st.sampled_from(["=", " = ", "\t="]))
        return names.dotted(draw) + equals + value(depth)

    def pairs() -> list[str]:
        return [
            draw(st.sampled_from(["", "  "])) + pair(2) + draw(st.sampled_from(["", " # end"]))
            for _ in range(draw(st.integers(0, 3)))
        ]

    lines = pairs()
    for _ in range(draw(st.integers(0, 4))):
        header = names.dotted(draw)
        if draw(st.booleans()):
            lines += [f"[{header}]", *pairs()]
            continue
        for _ in range(draw(st.integers(1, 3))):
            lines += [f"[[ {header} ]] # item", *pairs()]
            sub, below = names.dotted(draw), draw(st.sampled_from(["none", "table", "list"]))
            if below == "table":
                lines += [f"[{header}.{sub}]", *pairs()]
            for _ in range(draw(st.integers(1, 2)) if below == "list" else 0):
                lines += [f"[[{header}.{sub}]]", *pairs()]
    newline = draw(st.sampled_from(["\n", "\n\n", "\n# c\n"]))
    return newline.join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=150, deadline=None)
@given(documents())
def test_agrees_with_tomllib_on_any_document(text: str) -> None:
    found = find_lines(text)
    assert set(found) == set(paths_of(tomllib.loads(text)))
    rows = text.split("\n")
    for path, line in found.items():
        name = next(part for part in reversed(path) if isinstance(part, str))
        mark = next(word for word in name.replace("é", "").replace('"', " ").split())
        if isinstance(path[-1], str):
            assert mark.split("_")[0] + "_" in rows[line - 1]


FRAGMENTS = (
    *SCALARS,
    "a",
    "b",
    "'c d'",
    '"e"',
    "=",
    ".",
    ",",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\n",
    "#",
    " ",
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=24).map("".join))
def test_agrees_with_tomllib_on_whatever_it_accepts(text: str) -> None:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(find_lines(text)) == set(paths_of(table))


@given(st.lists(st.text(max_size=12) | st.integers(0, 99), min_size=1, max_size=4))
def test_a_written_key_is_read_back_when_it_is_printable(parts: list[str | int]) -> None:
    path = tuple(p if isinstance(p, int) or p.isprintable() else "x" for p in parts)
    path = tuple(int(p) if isinstance(p, str) and p.isdecimal() else p for p in path)
    assert read_where(write_key(path)) == path


@pytest.mark.parametrize("text", ["", "=", ".a", "a..b", '"a', "é", "a."])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        read_key(text)


def test_read_key_stops_after_the_key() -> None:
    assert read_key('a . "b c".2 = 5') == (("a", "b c", "2"), 12)


def test_ancestors() -> None:
    assert list(ancestors(("a", 0, "b"))) == [("a", 0, "b"), ("a", 0), ("a",)]
