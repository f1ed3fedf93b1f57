"""Whatever stands in the file: a workflow comes out, or a sentence that a user understands."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from workflow_fakes import PLUGINS

from wan_core.contract.errors import WanCoreError
from wan_core.contract.options import unprintable
from wan_core.workflow import Workflow, parse_workflow, to_toml

KEYS = (
    *("format", "model", "models", "stages", "memory", "output", "apply", "use", "name", "post"),
    *("family", "transformer", "vae", "precision", "device", "attention", "prompt", "seed"),
    *("guidance", "solver", "image", "video", "tracks", "points", "names", "x", "vram", "path"),
    *("0", "stage", "fps", "high", "low", "strength", "values", "'odd key'", '""', '"\\u0000"'),
)
VALUES = (
    *("1", "-1", "0.5", "nan", "inf", "1e999", "true", '""', '"generate"', '"upscale"', '"ati"'),
    *(
        '"tiny-t2v"',
        '"flashvsr"',
        '"generate.video"',
        '"~nobody-at-all/x"',
        '"a\\u0000"',
        '"12GiB"',
    ),
    *("9" * 40, "[]", "{}", "[1, 'a', {}]", "[[[]]]", "{x = 1, y = 2}", "1979-05-27", '"main"'),
    *(
        "'''\n'''",
        "hello",
        "",
        '"plain"',
        '"picky"',
        '"odd"',
        '"gone"',
        '"reserved"',
        "{use = 'ati'}",
    ),
)
HEADERS = (
    *("[model]", "[models.main]", "[models.b]", "[[stages]]", "[[stages.apply]]", "[memory]"),
    *("[output]", "[stages]", "[stages.apply]", "[[model]]", "[", "[[a]", "[a.b.c]", "[models]"),
)
lines = st.one_of(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(VALUES)).map(" = ".join),
    st.sampled_from(HEADERS),
    st.text(max_size=8),
)
STAGE = 'format = 1\n[model]\nfamily = "tiny-t2v"\n[[stages]]\nuse = "generate"\nprompt = "hi"\n'
FEATURE = STAGE + '[[stages.apply]]\nuse = "ati"\ntracks = "t"\n'
beginnings = st.sampled_from(["", "format = 1\n", STAGE, FEATURE])
overrides = st.lists(
    st.text(max_size=8)
    | st.builds(
        "{}={}".format,
        st.lists(st.sampled_from((*KEYS, "1", "generate", "main")), min_size=1, max_size=5).map(
            ".".join
        ),
        st.sampled_from(VALUES) | st.text(max_size=5),
    ),
    max_size=2,
)


def read(text: str, asked: list[str]) -> Workflow | None:
    """The workflow, or None when a sentence says what is wrong."""
    try:
        return parse_workflow(text, name="w.toml", overrides=asked, plugins=PLUGINS)
    except WanCoreError as error:
        sentence = str(error)
        assert sentence.startswith(("w.toml", "-s ")), sentence
        assert sentence.endswith("."), sentence
        sentence.encode()  # nothing that a terminal can't print
        assert not unprintable(sentence), sentence
        assert "\n" not in sentence, sentence
        return None


@settings(max_examples=400, deadline=None)
@given(beginnings, st.lists(lines, max_size=7), overrides)
@example(STAGE, ['image = "~"'], [])
def test_any_document(beginning: str, more: list[str], asked: list[str]) -> None:
    workflow = read(beginning + "\n".join(more), asked)
    if workflow is not None:
        folder = workflow.source.folder
        assert parse_workflow(to_toml(workflow), folder=folder, plugins=PLUGINS) == workflow


@settings(max_examples=100, deadline=None)
@given(st.text(), overrides)
def test_any_text(text: str, asked: list[str]) -> None:
    read(text, asked)


# -- a good document with something wrong here and there -------------------------------------------

GOOD = """
format = 1
models.main = { family = "tiny-t2v", transformer = { high = "a", low = "b" }, device = "cuda:1" }
models.up = { family = "flashvsr", vae = "~/vae.st" }
memory = { vram = "12GiB", ram = 2000000 }
output = { path = "out.mp4", fps = 24, stage = "join" }
[[stages]]
use = "generate"
name = "first"
prompt = "a red circle"
guidance = [3, 4.5]
sigmas = [1, 0.5, 0]
post = ["upscale"]
apply = [
    { use = "ati", tracks = "t", points = [{ x = 1, y = 2, label = "p" }], names = { a = 1 } },
    { use = "picky", end = 3 },
]
[[stages]]
use = "upscale"
model = "up"
video = "first.video"
tiled = true
[[stages]]
use = "join"
video = "upscale.video"
audio = "first.video"
"""
junk = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=5),
    st.sampled_from(
        ["ati", "main", "up", "first.video", "join.video", "odd", "~/a", "cuda", [], {}]
    ),
    st.sampled_from([[1], ["a"], [[1], {"x": 1}], {"x": 1}, {"use": "ati"}, {"high": "a"}]),
)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document, as the table or list that holds it and its key there."""
    for part in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, part
        if isinstance(node[part], dict | list):
            yield from places(node[part])


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """GOOD with up to three nodes replaced, renamed, doubled or left out."""
    document: Any = tomllib.loads(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        node, part = draw(st.sampled_from(list(places(document))[1:]))  # not the format
        change = draw(st.sampled_from(["replace", "replace", "leave out", "rename", "double"]))
        if change == "replace":
            node[part] = copy.deepcopy(draw(junk))
        elif change == "leave out":
            del node[part]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[part]))
        else:
            name = draw(st.sampled_from(KEYS[:-4]))
            node[name] = copy.deepcopy(node[part]) if change == "double" else node.pop(part)
    return document


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(one)}" for k, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str | bool):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


@settings(max_examples=400, deadline=None)
@given(damaged())
def test_any_damage(document: dict[str, Any]) -> None:
    text = "\n".join(f"{json.dumps(key)} = {toml(one)}" for key, one in document.items())
    workflow = read(text, [])
    if workflow is not None:
        folder = workflow.source.folder
        assert parse_workflow(to_toml(workflow), folder=folder, plugins=PLUGINS) == workflow
