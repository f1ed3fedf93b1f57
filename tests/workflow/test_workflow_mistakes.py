"""Every mistake gives one sentence: file, line, key, what is wrong, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from workflow_fakes import PLUGINS

from wan_core.contract.errors import PluginError, ResourceError, WanCoreError, WorkflowError
from wan_core.workflow import load_workflow, parse_workflow

MODEL = 'format = 1\n[model]\nfamily = "tiny-t2v"\n'
GENERATE = '[[stages]]\nuse = "generate"\nprompt = "hi"\n'
STAGE = MODEL + GENERATE
FEATURE = STAGE + '[[stages.apply]]\nuse = "ati"\ntracks = "t.json"\n'
UPSCALER = '[models.up]\nfamily = "flashvsr"\n[models.main]'
SHORTHANDS = {
    "@model\n": MODEL,
    "@generate\n": GENERATE,
    "@stage\n": STAGE,
    "@feature\n": FEATURE,
    "@join\n": STAGE + '[[stages]]\nuse = "join"\n',
    "@upscale\n": STAGE.replace("[model]", UPSCALER) + '[[stages]]\nuse = "upscale"\n',
}


def cases() -> list[tuple[str, str]]:
    """Document and sentence of each case in ``mistakes.txt``."""
    found = []
    file = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8")
    for block in file.split("---\n")[1:]:
        lines = [line for line in block.splitlines(keepends=True) if not line.startswith("#####")]
        document, _, sentence = "".join(lines).partition("=> ")
        for short, long in SHORTHANDS.items():
            document = document.replace(short, long)
        if sentence:
            found.append((document, sentence.strip()))
    assert len(found) > 100
    return found


@pytest.mark.parametrize(("document", "sentence"), cases())
def test_mistake(document: str, sentence: str) -> None:
    with pytest.raises(WanCoreError) as caught:
        parse_workflow(document, name="w.toml", plugins=PLUGINS)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("document", "place", "hint"),
    [
        (STAGE.replace('"generate"', '"genrate"'), "line 5, stages.0.use", '"generate"'),
        (STAGE.replace('"generate"', '"foo-bar"'), "line 5, stages.0.use", "wan-plugin-foo"),
        (STAGE.replace("tiny-t2v", "tiny-t2w"), "line 3, model.family", '"tiny-t2v"'),
        (STAGE.replace("tiny-t2v", "zzz"), "line 3, model.family", "wan2.1-t2v-14b"),
        (STAGE + 'solver = "unipcc"', "line 7, stages.0.solver", '"unipc"'),
        (MODEL + 'attention = "sgae"\n' + GENERATE, "line 4, model.attention", '"sage"'),
        (FEATURE.replace('"ati"', '"atii"'), "line 8, stages.0.apply.0.use", '"ati"'),
        (FEATURE.replace('"ati"', '"zoo"'), "line 8, stages.0.apply.0.use", "wan-plugin-zoo"),
        (STAGE + 'post = ["upscale", "upscal"]', "line 7, stages.0.post.1", '"upscale"'),
    ],
)
def test_what_no_plugin_brings(document: str, place: str, hint: str) -> None:
    with pytest.raises(PluginError) as caught:
        parse_workflow(document, name="w.toml", plugins=PLUGINS)
    assert caught.value.where == f"w.toml, {place}"
    assert hint in caught.value.remedy


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (f"a = {'[' * 3000}{']' * 3000}", "w.toml: lists or tables are nested too deeply"),
        (f"format = 1\na = {'9' * 5000}", "w.toml, line 2: a number has too many digits."),
        (
            STAGE
            + '[[stages.apply]]\nuse = "tree"\nchild = '
            + "{child = " * 300
            + "1"
            + "}" * 300,
            "w.toml, line 7, stages.0.apply.0: lists or tables are nested too deeply",
        ),
        ("a = '\x01'", "w.toml, line 1, column 6, a: there is a control character on this line"),
        ('a = "\x01"', "w.toml, line 1, column 6, a: there is a control character in this text"),
        ("a = '''\n\n", "w.toml, line 1, a: this text is not closed"),
        ('\n\na = """\n\nb\n', "w.toml, line 5, b: this text is not closed"),
    ],
)
def test_extreme_documents(document: str, sentence: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        parse_workflow(document, name="w.toml", plugins=PLUGINS)
    assert str(caught.value).startswith(sentence)


# -- files --------------------------------------------------------------------------------------


def failure(path: Path) -> WanCoreError:
    with pytest.raises(WanCoreError) as caught:
        load_workflow(path, plugins=PLUGINS)
    return caught.value


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "hello.toml").write_text(STAGE)
    error = failure(tmp_path / "helo.toml")
    assert isinstance(error, WorkflowError)
    assert str(error) == f'there is no file "{tmp_path}/helo.toml"; did you mean "hello.toml".'


def test_missing_folder(tmp_path: Path) -> None:
    error = failure(Path("nowhere/hello.toml"))
    assert str(error) == 'there is no file "nowhere/hello.toml"; check the path.'


def test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    assert str(failure(Path("sub"))) == '"sub" is a folder; name a file.'
    Path("sub/workflow.toml").write_text(STAGE)
    assert str(failure(Path("sub"))) == '"sub" is a folder; did you mean "workflow.toml".'


def test_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "hello.toml"
    file.write_bytes(STAGE.encode() + 'name = "é"'.encode("latin-1"))
    assert (
        str(failure(file))
        == "hello.toml, line 7: the file is not UTF-8 text; save it with the encoding UTF-8."
    )
    file.write_bytes(STAGE.encode("utf-16"))
    assert str(failure(file)).startswith("hello.toml, line 1: the file is not UTF-8 text")


def test_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "hello.toml"
    file.touch()
    assert str(failure(file)).startswith("hello.toml: the file is empty")


def test_huge_file_is_not_read_whole() -> None:
    error = failure(Path("/dev/zero"))
    assert str(error).startswith('"/dev/zero" is larger than 1024 KiB, so it is no workflow')


def test_name_that_no_file_can_have() -> None:
    assert isinstance(failure(Path("a\0b")), ResourceError)


def test_exit_codes_tell_sorts_apart(tmp_path: Path) -> None:
    assert failure(tmp_path / "x.toml").exit_code == 2
    assert failure(Path("a\0b")).exit_code == 5
