"""Whatever stands in the file: a workflow comes out, or a sentence that a user understands."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from workflow_fakes import PLUGINS

from wan_core.contract.errors import WanCoreError
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
        assert sentence.isprintable(), sentence
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
