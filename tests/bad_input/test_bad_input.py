"""Every case of the table: one sentence, the exit code, and nothing read, written or left behind."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
from makers import make, workflow
from sentences import check_sentence
from surroundings import CONDITIONS
from table import Case, cases

from wan_core.cli import main

CASES = cases()
SECONDS = 10.0  # a bound on what must not grow with the input, not a speed
MEGABYTES = 200
KEEP_JSON = ("run", "rerun", "plan", "models", "inspect")


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what commands import, which is no case's time."""
    import tokenizers  # noqa: F401
    import torch  # noqa: F401

    import wan_core.engine.measuring
    import wan_core.media

    del wan_core


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading or loading weights is an error of this test."""
    from wan_core.memory import Residency
    from wan_core.weights import files, loading, sources, state_dict

    def refuse(*arguments: object, **more: object) -> NoReturn:
        raise AssertionError(f"weights were loaded: {arguments[1:2]}")

    def only_the_tokenizer(get: Callable[..., Any]) -> Callable[..., Any]:
        def get_it(self: Any, name: str, *more: Any) -> Any:
            return get(self, name, *more) if name == "spiece_model" else refuse(self, name)

        return get_it

    monkeypatch.setattr(Residency, "acquire", refuse)
    monkeypatch.setattr(loading, "load_into", refuse)
    for kind in (
        files.SafetensorsFile,
        files.ShardedSafetensors,
        state_dict.StateDict,
        sources.RenamedSource,
    ):
        monkeypatch.setattr(kind, "get", only_the_tokenizer(kind.get))


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("family", ["tiny-random", "tiny-t2v"])
def test_loading_would_be_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    family: str,
) -> None:
    """The watch over weights is awake: a good workflow runs into it."""
    make(tmp_path, {"w.toml": workflow(family=family)})
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "w.toml"]) == 0
    assert main(["run", "w.toml"]) == 1
    assert "AssertionError: weights were loaded" in capsys.readouterr().err


def test_the_table_is_large_and_its_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 300


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(tmp_path, case.files)
    monkeypatch.chdir(tmp_path)
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value.replace("{folder}", str(tmp_path)))
    for condition in case.given:
        CONDITIONS[condition](monkeypatch)
    before = contents(tmp_path), contents(Path(os.environ["WAN_CORE_CACHE"]))
    with bounded(case):
        code = main(case.arguments)
    said = capsys.readouterr()
    check_sentence(said.err)
    assert re.fullmatch(pattern(case.says, tmp_path), said.err.rstrip("\n")), said.err
    assert (code, said.out) == (case.code, "")

    sentence = said.err.rstrip("\n")
    if case.command in KEEP_JSON and "pull" not in case.arguments:
        assert main([*case.arguments, "--json"]) == code
        said = capsys.readouterr()
        assert said.err.rstrip("\n") == ("" if case.command == "inspect" and said.out else sentence)
        if case.command in ("run", "rerun"):
            last = json.loads(said.out.splitlines()[-1])
            assert last == {"event": "RunFailed", "error": sentence, "exit_code": code}
        elif said.out:
            (answer,) = json.loads(said.out)["files"]
            assert (answer["error"], answer["exit_code"]) == (sentence, code)
    assert (contents(tmp_path), contents(Path(os.environ["WAN_CORE_CACHE"]))) == before


def pattern(says: str, folder: Path) -> str:
    """The sentence of the table as a regular expression."""
    return re.escape(says).replace(r"\{folder\}", re.escape(str(folder))).replace(r"\{any\}", ".+")


def contents(folder: Path) -> Mapping[str, tuple[int, int, int]]:
    """Every path below a folder with its mode, size and date."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        found[str(path)] = (info.st_mode, info.st_size, info.st_mtime_ns)
    return found


class bounded:  # noqa: N801 (read as a statement)
    """Fails when what happens inside takes long, or much memory."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __enter__(self) -> None:
        self.began = time.process_time()
        self.resident = restart_peak()

    def __exit__(self, *_: object) -> None:
        # of this process alone, whatever else the machine is busy with
        assert time.process_time() - self.began < SECONDS, f"{self.case.name} is slow"
        more = (peak() - self.resident) / 2**20
        assert more < MEGABYTES, f"{self.case.name} took {more:.0f} MB"


def restart_peak() -> int:
    """Start to look for the largest memory, from what is in use now (bytes)."""
    # where that is not allowed, only what goes beyond the peak of the whole process is seen
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The largest memory of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(kilobytes) * 1024
