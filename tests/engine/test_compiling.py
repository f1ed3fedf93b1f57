"""``compile = true`` in runs: what it makes is kept by version, and what it can't is done without it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wan_core import Session
from wan_core.cli.caches import COMPILED
from wan_core.contract.events import Event, Note, Recovered
from wan_core.engine import compiling
from wan_core.engine.compiling import compile_cache, use_cache
from wan_core.media import probe, read_frames
from wan_core.memory import compiled
from wan_core.models.wan import sub_steps
from wan_core.planning.provenance import read_record
from wan_core.stages import driver
from wan_core.workflow import Workflow

Make = Callable[..., Workflow]
CPU = torch.device("cpu")
TEXT = """
format = 1
[model]
family = "tiny-random"
compile = {compile}
[[stages]]
use = "generate"
prompt = "a circle"
steps = 4
[output]
path = "out.mp4"
overwrite = true
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch._dynamo.reset()
    for variable in compiling.VARIABLES:
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(compiling, "_set", {})
    monkeypatch.setattr(compiled, "BACKEND", lambda graph, inputs: graph)  # eager: the same bits
    yield
    torch._dynamo.reset()


def run(
    make: Make, compile_it: bool, session: Session | None = None
) -> tuple[np.ndarray, list[tuple[str, str]], str]:
    """Frames, notes, and what the file says of compiling."""
    notes: list[tuple[str, str]] = []

    def listen(event: Event) -> None:
        if isinstance(event, Note):
            notes.append((event.text, event.level))
        elif isinstance(event, Recovered):
            notes.append((f"{event.what}, so {event.how}", "warning"))

    workflow = make(text=TEXT.replace("{compile}", str(compile_it).lower()))
    (path,) = (session or Session()).run(workflow, listen=listen).outputs
    record = read_record(probe(path).comment, where="")
    return np.stack(list(read_frames(path))), notes, record.machine["compiled"]


def test_compiled_runs_say_what_they_compiled(make: Make) -> None:
    want, notes, said = run(make, False)
    assert (notes, said) == ([], "nothing")
    with Session() as session:
        plan = session.plan(make(text=TEXT.replace("{compile}", "true")))
        assert plan.models["main"].compile
        models = dict(plan.describe())["Models"]
        assert models[0].endswith(", compiled")
        got, notes, said = run(make, True, session)
        again, more, _ = run(make, True, session)
    assert np.array_equal(got, want)
    assert np.array_equal(again, want)
    assert said == "main"
    (begun, _), (summary, level) = notes
    assert "first step takes longer" in begun
    assert summary.startswith("transformer: 1 graph compiled in")
    assert level == "info"
    assert more == []  # compiled once for all runs of a session
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(compile_cache(CPU))


@pytest.mark.parametrize("good_calls", [0, 5])
def test_a_failure_ends_in_the_same_video_and_one_line(
    make: Make, monkeypatch: pytest.MonkeyPatch, good_calls: int
) -> None:
    """Two blocks, two branches, four steps: the sixth call is in the second step."""
    left = [good_calls]

    def backend(graph: Any, inputs: Sequence[Any]) -> Any:
        def call(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("a kernel is broken")
            return graph(*arguments)

        if not good_calls:
            raise RuntimeError("no compiler")
        return call

    want, *_ = run(make, False)
    monkeypatch.setattr(compiled, "BACKEND", backend)
    with Session() as session:
        got, notes, said = run(make, True, session)
        again, more, _ = run(make, True, session)
    assert np.array_equal(got, want)
    assert np.array_equal(again, want)
    assert said == "nothing"
    reason = "RuntimeError: " + ("a kernel is broken" if good_calls else "no compiler")
    failure = f"torch.compile failed, so the model runs without it: {reason}"
    assert [text for text, level in notes if level == "warning"] == [failure]
    assert len(notes) == 2
    assert more == [
        (f"transformer: runs without torch.compile, which failed before: {reason}", "info")
    ]


@pytest.mark.parametrize("cache", ["a file", "no place to write"])
def test_a_cache_that_cannot_be_is_left_to_torch(
    cache: str, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "cache"
    if cache == "a file":
        place.touch()
    else:
        monkeypatch.setattr(compiling.os, "access", lambda path, mode: False)
    monkeypatch.setenv("WAN_CORE_CACHE", str(place))
    use_cache(CPU)
    assert {os.environ[variable] for variable in compiling.VARIABLES} == {""}


def test_what_torch_has_chosen_is_no_wish_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", default_cache_dir())
    use_cache(CPU)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(compile_cache(CPU) / "inductor")


def test_a_compiler_that_cannot_be_imported_is_done_without(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where ``TORCHINDUCTOR_CACHE_DIR`` is a file: torch fails before there is anything to compile."""

    def no_compiler(*_: Any, **__: Any) -> None:
        raise FileExistsError(17, "File exists", "/a/file")

    want, *_ = run(make, False)
    monkeypatch.setattr(torch, "compile", no_compiler)
    got, notes, said = run(make, True)
    assert np.array_equal(got, want)
    assert said == "nothing"
    ((text, level),) = notes
    assert (level, "FileExistsError" in text) == ("warning", True)


def test_a_run_that_compiles_nothing_imports_no_compiler(tmp_path: Path) -> None:
    program = (
        "import sys, wan_core.engine, wan_core.models.wan.transformer, wan_core.stages.generate; "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_compiled_component_is_not_the_one_that_is_not(make: Make) -> None:
    with Session() as session:
        run(make, False, session)
        _, notes, said = run(make, True, session)
    assert said == "main"
    assert len(notes) == 2


def test_a_cache_for_these_versions_and_this_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path))
    here = compile_cache(CPU)
    assert here.parent == tmp_path / "compiled"
    assert here.name.startswith(torch.__version__.replace("/", "_") + "-")
    assert here.name.endswith("-cpu")
    assert COMPILED.names.fullmatch(here.name)  # what doctor clears
    old, other, elsewhere = (here.parent / "2.1-none-0.0-cpu", tmp_path / "text", tmp_path / "else")
    same = here.with_name(here.name.removesuffix("cpu") + "NVIDIA_H200")
    own = here.parent / "mine"
    for folder in (old, other, elsewhere, same, own):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    link = here.parent / "2.0-none-0.0-cpu"
    link.symlink_to(elsewhere)
    use_cache(CPU)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(here / "inductor")
    assert os.environ["TRITON_CACHE_DIR"] == str(here / "triton")
    assert sorted(here.parent.iterdir()) == sorted([here, same, link, own])
    assert (elsewhere / "file").exists()
    assert (other / "file").exists()
    old.mkdir()
    use_cache(CPU)
    assert old.exists()  # only when a folder is made


def test_a_cache_that_the_user_chose_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "one"))
    monkeypatch.setenv("TRITON_CACHE_DIR", "/own")
    use_cache(CPU)
    assert os.environ["TRITON_CACHE_DIR"] == "/own"
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "two"))
    use_cache(CPU)
    assert os.environ["TRITON_CACHE_DIR"] == "/own"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"].startswith(str(tmp_path / "two"))


def test_a_cache_that_is_a_link_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "cache"))
    old = tmp_path / "elsewhere" / "2.1-none-0.0-cpu"
    old.mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "compiled").symlink_to(tmp_path / "elsewhere")
    use_cache(CPU)
    assert old.exists()


def test_a_kernel_that_is_missing_in_compiled_code_ends_in_eager_calls(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Norm and rotation are one kernel in compiled code alone, so eager calls are the reference."""

    def broken(*args: Any) -> torch.Tensor:
        raise RuntimeError("Triton can't find a C compiler")

    want, *_ = run(make, False)
    monkeypatch.setattr(sub_steps, "_fused_allowed", lambda x: torch.compiler.is_compiling())
    monkeypatch.setattr(sub_steps, "has_kernel", lambda x: True)
    monkeypatch.setattr(sub_steps, "norm_rotate", broken)
    with Session() as session:
        got, notes, said = run(make, True, session)
    assert np.array_equal(got, want)
    assert said == "nothing"
    ((text, _),) = [note for note in notes if note[1] == "warning"]
    assert text.startswith("torch.compile failed, so the model runs without it: ")


def test_a_compiled_model_whose_memory_runs_out_is_swapped(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [0]

    def backend(graph: Any, inputs: Sequence[Any]) -> Any:
        def call(*arguments: Any) -> Any:
            calls[0] += 1
            if calls[0] in (6, 7, 8):
                raise torch.OutOfMemoryError("full")
            return graph(*arguments)

        return call

    want, *_ = run(make, False)
    monkeypatch.setattr(compiled, "BACKEND", backend)
    with Session() as session:
        result = session.run(make(text=TEXT.replace("{compile}", "true")))
    assert np.array_equal(np.stack(list(read_frames(result.outputs[0]))), want)
    assert [one.exact for one in result.recoveries] == [True] * 3
    assert "all 2 blocks are swapped" in result.recoveries[-1].how


def test_a_component_that_is_loaded_once_more_is_watched_once_more(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage is repeated twice, the transformer leaves in between, and only the second one fails."""

    def failing(name: str, *fails: bool) -> None:
        real, left = getattr(driver, name), list(fails)

        def call(*given: Any, **more: Any) -> Any:
            if left and left.pop(0):
                raise torch.OutOfMemoryError("full")
            return real(*given, **more)

        monkeypatch.setattr(driver, name, call)

    failing("AttentionPatches", True)
    failing("start_latents", False, True)

    def backend(graph: Any, inputs: Sequence[Any]) -> Any:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(compiled, "BACKEND", backend)
    with Session() as session:
        _, notes, said = run(make, True, session)
    assert any("random transformer left the device" in text for text, _ in notes)
    assert said == "nothing"
