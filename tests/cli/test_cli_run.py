"""``wan-core run``: what is handed on, what is printed, and how failures end."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace as Namespace
from typing import Any

import pytest
from fake_engine import Script
from terminal import on_a_terminal

from wan_core.cli import main
from wan_core.cli.live import LiveView
from wan_core.cli.run import summary, sweep_summary, terminated_like_interrupted
from wan_core.cli.views import PlainLines, WarningsOnly
from wan_core.contract.errors import DeadLatentsError, PluginError, WeightsError
from wan_core.contract.events import Note, Preview, Recovered, RunFailed
from wan_core.engine.results import RunResult, SweepResult

FAKE = [sys.executable, str(Path(__file__).with_name("fake_engine.py"))]

PLAIN_LINES = """\
warning: the word dragon was never taught
text: encoding prompts, 2 prompts, 0.5 s
generate: loading transformer, 1.2 s
generate: sampling, 3 steps, 1 min 15 s
note: three steps are few
"""
SUMMARY = """
text                   0.5 s
  encoding prompts     0.5 s
generate               1 min 16 s
  loading transformer  1.2 s
  sampling             1 min 15 s
total                  1 min 17 s
peak memory            1.3 GB RAM
written                out.mp4
"""


@pytest.mark.parametrize(
    ("vram", "predicted", "moved", "hidden", "lines"),
    [
        (None, 0, 0, None, ["peak memory  1.3 GB RAM"]),
        (
            None,
            900_000_000,
            0,
            None,
            ["peak memory  1.3 GB RAM (predicted 900 MB and what Python and its libraries take)"],
        ),
        (5_100_000_000, 0, 0, None, ["peak memory  1.3 GB RAM, 5.1 GB VRAM in tensors"]),
        (
            5_100_000_000,
            5_300_000_000,
            1_120_000_000_000,
            0.978,
            [
                "peak memory  1.3 GB RAM, 5.1 GB VRAM in tensors "
                "(predicted 5.3 GB with what CUDA takes)",
                "swapped in   1120.0 GB, 98% of it hidden",
            ],
        ),
        (None, 0, 5_000_000, None, ["peak memory  1.3 GB RAM", "swapped in   5 MB"]),
    ],
)
def test_what_the_summary_says_of_memory(
    vram: int | None, predicted: int, moved: int, hidden: float | None, lines: list[str]
) -> None:
    result = RunResult((), {}, 1_300_000_000, vram, predicted, moved, hidden)
    assert summary(result) == lines


def test_recoveries_are_lines_of_the_run_and_of_its_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exact = Recovered("generate", "sampling", "out of memory", "all 40 blocks are swapped")
    other = Recovered("generate", "decoding", "out of memory", "it works on the CPU", exact=False)
    result = RunResult((), {}, 1_300_000_000, None, recoveries=(exact, other))
    assert summary(result)[1:] == [
        "recovered    generate / sampling: out of memory; all 40 blocks are swapped",
        "recovered    generate / decoding: out of memory; it works on the CPU",
    ]
    for view in (PlainLines(sys.stderr), WarningsOnly(sys.stderr), LiveView(sys.stderr)):
        with view:
            view(exact)
            view(other)
        told = capsys.readouterr().err
        assert "it works on the CPU" in told
        assert ("all 40 blocks" in told) == (not isinstance(view, WarningsOnly))


def test_recoveries_are_lines_of_the_summary_of_a_sweep() -> None:
    one = Recovered("generate", "sampling", "out of memory", "all 40 blocks are swapped")
    made = [RunResult((Path("a.mp4"),), {"total": 2.0}, 0, None, recoveries=(one,)), OSError("x")]
    plans: Any = [
        Namespace(workflow=Namespace(source=Namespace(label=f"seed {n}"))) for n in (1, 2)
    ]
    lines = sweep_summary(SweepResult(tuple(made), None), plans)
    assert [line.split(maxsplit=2)[:2] for line in lines[::2]] == [["seed", "1"], ["seed", "2"]]
    assert lines[1].split("  ")[-2:] == [
        "recovered", "generate / sampling: out of memory; all 40 blocks are swapped",
    ]  # fmt: skip


def test_without_a_terminal_there_is_one_plain_line_for_each_finished_task(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "hello.toml"]) == 0
    printed = capsys.readouterr()
    assert printed.err == PLAIN_LINES
    assert printed.out == SUMMARY


def test_what_the_user_says_is_handed_on(script: Script, tmp_path: Path) -> None:
    arguments = ["-s", "stages.0.seed=7", "-s", "stages.0.prompt=a=b", "--device", "cuda:1"]
    assert main(["run", "w/hello.toml", *arguments, "-o", "here.mp4", "--quiet"]) == 0
    asked = script.asked
    assert asked["path"] == "w/hello.toml"
    assert asked["overrides"] == ("stages.0.seed=7", "stages.0.prompt=a=b")
    assert asked["device"] == asked["session_device"] == "cuda:1"
    assert asked["output"] == Path.cwd() / "here.mp4"
    assert asked["closed"]


def test_how_a_run_was_asked_for_is_kept_with_full_paths(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.toml").touch()
    said = ["-s", "stages.0.seed=7", "--device", "cpu", "--overwrite"]
    assert main(["run", "w.toml", *said, "-o", "here.mp4", "--quiet"]) == 0
    assert script.asked["arguments"] == (
        *(str(tmp_path / "w.toml"), "-s", "stages.0.seed=7", "-o", str(tmp_path / "here.mp4")),
        *("--device", "cpu", "--overwrite"),
    )
    assert script.asked["resume"] is False
    # what can't be read a second time has no command
    assert main(["run", "/dev/stdin", "--quiet"]) == 0
    assert script.asked["arguments"] == ()


def test_the_workflow_says_where_unless_told_otherwise(script: Script) -> None:
    assert main(["run", "hello.toml", "--quiet"]) == 0
    assert script.asked["output"] == Path("outputs/hello.mp4")


def test_quiet_says_only_what_must_be_known(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "hello.toml", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "warning: the word dragon was never taught\n")


def test_json_is_one_event_a_line_and_nothing_else(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.prints = "a plugin chats"
    assert main(["run", "hello.toml", "--json"]) == 0
    printed = capsys.readouterr()
    events = [json.loads(line) for line in printed.out.splitlines()]
    kinds = [type(e).__name__ for e in script.events if not isinstance(e, Preview)]
    assert [e["event"] for e in events] == kinds
    assert events[0] == {
        "event": "RunStarted", "workflow": "hello.toml", "stages": ["generate"], "label": "",
        "predicted": {},
    }  # fmt: skip
    assert events[-1]["seconds"]["generate / sampling"] == 75.0
    assert printed.err == "a plugin chats\n"


@pytest.mark.parametrize("at", ["plan", "run"])
@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (WeightsError("no VAE", where="a.toml", remedy="look"), 3, "a.toml: no VAE; look."),
        (PluginError("it broke"), 4, "it broke."),
        (DeadLatentsError("all black"), 6, "all black."),
        (KeyboardInterrupt(), 130, "stopped."),
        (MemoryError(), 5, "this machine has no more memory; use a smaller size."),
        (
            KeyError("x\ny"), 1,
            "internal error: KeyError: 'x\\ny'; run again with --debug and report",
        ),
        (
            RuntimeError("a.\nb"), 1,
            "internal error: RuntimeError: a; run again with --debug and report",
        ),
        (AssertionError(), 1, "internal error: AssertionError; run again with --debug and report"),
    ],
)  # fmt: skip
def test_every_error_is_one_sentence_and_a_code(
    script: Script, capsys: pytest.CaptureFixture[str],
    at: str, error: BaseException, code: int, sentence: str,
) -> None:  # fmt: skip
    script.error, script.at, script.events = error, at, ()
    assert main(["run", "hello.toml"]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", f"{sentence}\n")

    assert main(["run", "hello.toml", "--json"]) == code
    printed = capsys.readouterr()
    failed = {"event": "RunFailed", "error": sentence, "exit_code": code}
    assert json.loads(printed.out) == failed
    assert printed.err == f"{sentence}\n"


def test_a_failure_that_the_engine_has_told_is_not_told_twice(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.error = PluginError("it broke")
    script.events = [RunFailed("it broke.", 4)]
    assert main(["run", "hello.toml", "--json"]) == 4
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_run_that_failed_before_is_not_the_last_word(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    script.error = KeyboardInterrupt()
    script.events = [RunFailed("it broke.", 4), Note("run 1 of 2 failed", "error")]
    assert main(["run", "hello.toml", "--json"]) == 130
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == {"event": "RunFailed", "error": "stopped.", "exit_code": 130}


def test_a_second_ctrl_c_does_not_break_into_the_cleaning_up() -> None:
    cleaned = 0
    with terminated_like_interrupted():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            for again in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(again)
                cleaned += 1
    assert cleaned == 3
    with terminated_like_interrupted(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_debug_shows_the_traceback(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    script.error, script.events = RuntimeError("boom"), ()
    assert main(["run", "hello.toml", "--debug"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("internal error: RuntimeError: boom")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_signal_stops_the_run_tidily(stop: signal.Signals, options: list[str]) -> None:
    run = subprocess.Popen(
        [*FAKE, "0.2", "run", "x.toml", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stderr and run.stdout
    (run.stdout if options else run.stderr).readline()
    run.send_signal(stop)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130
    assert err.splitlines()[-2:] == ["stopped.", "session closed"]
    assert "Traceback" not in err
    if options:
        assert json.loads(out.splitlines()[-1])["event"] == "RunFailed"


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_reader_who_leaves_does_not_stop_the_run(options: list[str]) -> None:
    reading, writing = os.pipe()
    streams = {"stdout" if options else "stderr": writing}
    other = "stderr" if options else "stdout"
    run = subprocess.Popen(
        [*FAKE, "0.02", "run", "x.toml", *options], **streams, **{other: subprocess.PIPE}, text=True
    )
    os.close(writing)
    os.read(reading, 10)
    os.close(reading)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 0
    assert (err == "session closed\n") if options else (out == SUMMARY)


@pytest.mark.parametrize("full", ["stdout", "stderr"])
@pytest.mark.parametrize("options", [["--json"], []])
def test_a_full_disk_of_a_log_does_not_stop_the_run(full: str, options: list[str]) -> None:
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Path("/dev/full").open("w") as streams[full]:
        done = subprocess.run([*FAKE, "0", "run", "x.toml", *options], **streams, text=True)
        assert done.returncode == 0
        if full == "stderr":
            assert done.stdout.endswith(SUMMARY) if not options else "RunFinished" in done.stdout
        else:
            assert done.stderr == ("" if options else PLAIN_LINES) + "session closed\n"
        failed = subprocess.run([*FAKE, "0", "run", "--nope"], **streams, text=True)
        assert failed.returncode == 2


@pytest.mark.parametrize("closing", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", [["--json"], []])
def test_closed_streams_do_not_stop_the_run(closing: str, options: list[str]) -> None:
    command = shlex.join([*FAKE, "0", "run", "x.toml", *options])
    done = subprocess.run(["sh", "-c", f"exec {command} {closing}"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    if closing == "2>&-" and not options:
        assert done.stdout == SUMMARY


def test_under_nohup_a_lost_connection_does_not_stop_the_run() -> None:
    run = subprocess.Popen(
        ["nohup", *FAKE, "0.02", "run", "x.toml"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stderr
    assert any(line.startswith("text:") for line in run.stderr)
    run.send_signal(signal.SIGHUP)
    out, _ = run.communicate(timeout=20)
    assert (run.returncode, out) == (0, SUMMARY)


INTERRUPTED_IMPORT = """
import sys
class Interrupting:
    def find_spec(self, name, *rest):
        if name == "click":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from wan_core.cli import main
sys.exit(main())
"""
INTERRUPTED_EXIT = """
import atexit, os, signal, sys
atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
from wan_core.cli import main
sys.argv[1:] = ["--version"]
sys.exit(main())
"""


def test_ctrl_c_during_the_first_imports_is_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "stopped.\n")


def test_ctrl_c_after_the_end_changes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_EXIT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_places_of_what_options_overrule(script: Script) -> None:
    assert main(["run", "x.toml", "--quiet", "-o", "a.mp4", "--device", "gpu"]) == 0
    where = script.asked["where"]
    assert (where("output.path"), where("models.main.device")) == ("-o", "--device")
    assert main(["run", "x.toml", "--quiet"]) == 0
    where = script.asked["where"]
    assert where("output.path") == "workflow, output.path"
    assert where("models.main.device") == "workflow, models.main.device"


def test_a_home_folder_that_the_shell_left_alone(
    script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["run", "x.toml", "--quiet", "-o", "~/a.mp4"]) == 0
    assert script.asked["output"] == tmp_path / "a.mp4"


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("", "-o: the path of the video must not be empty."),
        ("a\x1b.mp4", "-o: the path of the video has a control character (U+001B) in it."),
        ("a\n.mp4", "-o: the path of the video has a line end or a tab in it."),
        ("~nobody9/a.mp4", '-o: "~nobody9/a.mp4" names a home folder that does not exist.'),
    ],
)
def test_paths_that_are_refused(
    script: Script, capsys: pytest.CaptureFixture[str], output: str, sentence: str
) -> None:
    assert main(["run", "x.toml", "-o", output]) == 2
    assert capsys.readouterr().err == f"{sentence}\n"


def test_on_a_terminal_bars_move_and_finished_tasks_stay() -> None:
    seen = on_a_terminal([*FAKE, "0.15", "run", "x.toml"])
    assert "\x1b[" in seen
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert re.search(r"━ generate: sampling 2/3 steps, \d s left", text)
    assert "✓ text: encoding prompts, 2 prompts, 0.5 s" in text
    assert "✓ generate: sampling, 3 steps, 1 min 15 s" in text
    assert "written                out.mp4" in text
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= 80


def test_a_failure_on_a_terminal_leaves_the_cursor_visible() -> None:
    seen = on_a_terminal([*FAKE, "0", "run", "x.toml", "--without", "nobody"])
    assert "there is no plugin" in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l")
