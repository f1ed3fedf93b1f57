"""``wan-core run --resume`` and ``wan-core runs``: processes that are killed lose nothing but their time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import attrs
import numpy as np
import pytest
from real_commands import Call, Write

from wan_core.config import cache_folder
from wan_core.contract.events import TaskProgress
from wan_core.engine import keep
from wan_core.engine.events import Broadcast
from wan_core.engine.unfinished import Card, locked
from wan_core.media import read_frames

KILLS = int(os.environ.get("WAN_CORE_KILLS") or 3)
STEPS = 40
# one thread as in these tests, because bits depend on it, and a state after every step
PROGRAM = """
import sys, torch
torch.set_num_threads(1)
from wan_core.cli import main
from wan_core.engine import keep
keep.SHARE = float("inf")
sys.exit(main())
"""


def frames(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path)))


@pytest.fixture
def stopped(call: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run ``wan-core run`` and stop it after so many reports of sampling, or of writing."""
    monkeypatch.setattr(keep, "SHARE", float("inf"))

    def stopped(task: str, count: int, *arguments: str | Path):  # type: ignore[no-untyped-def]
        send, left = Broadcast.__call__, [count]

        def counting(self: Broadcast, event: object) -> None:
            send(self, event)  # type: ignore[arg-type]
            if isinstance(event, TaskProgress) and event.task == task:
                left[0] -= 1
                if left[0] == 0:
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Broadcast, "__call__", counting)
            said = call("run", *arguments)
        assert said.code == 130
        return said

    return stopped


def start(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "WAN_CORE_CACHE": str(folder / "cache")}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "run", "w.toml", "--json"],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def kill_at(process: subprocess.Popen[str], line: int, after: float) -> None:
    """SIGKILL so many lines after the run has begun, and some more milliseconds."""
    assert process.stdout is not None
    begun = False
    for text in process.stdout:
        begun = begun or "RunStarted" in text
        line -= begun
        if line < 0:
            break
    end = time.monotonic() + after
    while time.monotonic() < end:
        pass
    process.kill()
    process.communicate()


def test_killed_at_any_moment_a_run_goes_on_with_the_same_bits(
    call: Call, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow = write(stage=f"steps = {STEPS}", path="clip.mkv")
    assert call("run", workflow, "-o", "whole.mkv").code == 0
    whole = frames(tmp_path / "whole.mkv")
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    left = KILLS
    while left > 0:
        folders = [tmp_path / f"kill-{left - n}" for n in range(min(3, left))]
        left -= len(folders)
        for folder in folders:
            folder.mkdir()
            (folder / "w.toml").write_text(workflow.read_text())
        # together, because most of the time they start
        processes = [start(folder) for folder in folders]
        for process in processes:
            kill_at(process, chance.randrange(STEPS + 15), chance.random() * 0.01)
        for folder in folders:
            monkeypatch.setenv("WAN_CORE_CACHE", str(folder / "cache"))
            monkeypatch.chdir(folder)
            if "w.toml" in call("runs").out:  # else it was over before the signal came
                said = call("run", "w.toml", "--resume")
                assert said.code == 0, (seed, said.err)
                assert call("runs").out == "there is no unfinished run\n"
            made = sorted(folder.glob("clip*.mkv"))  # two, if the first had its name just then
            assert made, seed
            assert all(np.array_equal(frames(path), whole) for path in made), seed


@pytest.mark.parametrize("gone", [False, True])
def test_killed_when_the_video_had_its_name(
    gone: bool, call: Call, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything that was kept is deleted, and when the first of it is."""
    workflow = write(stage="steps = 4", path="clip.mkv")
    discard = keep.Keepsakes.discard
    found: list[Path] = []

    def killed(self: keep.Keepsakes) -> None:
        assert self.folder is not None
        if gone:
            with monkeypatch.context() as patch:
                patch.setattr(keep.shutil, "rmtree", lambda *_, **__: found.extend(self_files()))
                discard(self)
        self.folder = None

    def self_files() -> list[Path]:
        return list((cache_folder() / "runs").glob("*/*.safetensors"))

    with monkeypatch.context() as patch:
        patch.setattr(keep.Keepsakes, "discard", killed)
        assert call("run", workflow).code == 0
    whole = frames(tmp_path / "clip.mkv")
    if gone:
        assert found
        assert call("runs").out == "there is no unfinished run\n"
        return
    said = call("run", "w.toml", "--resume")
    assert said.code == 0, said.err
    assert "clip.mkv is there already, and was left as it is" in said.err
    assert np.array_equal(frames(tmp_path / "clip-2.mkv"), whole)
    assert np.array_equal(frames(tmp_path / "clip.mkv"), whole)
    assert call("runs").out == "there is no unfinished run\n"


def test_what_stops_a_run_names_the_command_that_goes_on(
    call: Call, stopped: Call, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("two words.toml", stage="steps = 5")
    arguments = ("two words.toml", "-s", "stages.0.seed=7", "-o", "seven.mkv")
    assert call("run", *arguments).code == 0
    whole = frames(tmp_path / "seven.mkv")
    (tmp_path / "seven.mkv").unlink()
    said = stopped("sampling", 2, *arguments)
    command = "wan-core run 'two words.toml' -s stages.0.seed=7 -o seven.mkv --resume"
    assert said.err.endswith(f"stopped; {command} goes on where it was.\n")
    listed = call("runs")
    assert command in listed.out
    assert "generate: step 2 of 5" in listed.out
    refused = call("run", "two words.toml", "--resume")
    assert refused.code == 2
    assert refused.err.startswith(
        '--resume: the unfinished run of "two words.toml" had another plan: '
        "stages.0.seed was 7, is now 0; "
    )
    # from anywhere, without saying which
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert call("run", "--resume").code == 0
    assert np.array_equal(frames(tmp_path / "seven.mkv"), whole)
    again = call("run", "--resume")
    assert again.code == 2
    assert again.err == "--resume: there is no unfinished run; name a workflow to run.\n"


def test_kept_latents_are_decoded_though_the_workflow_has_changed(
    call: Call, stopped: Call, write: Write, tmp_path: Path
) -> None:
    workflow = write(stage="steps = 5", path="clip.mkv")
    assert call("run", workflow, "-o", "whole.mkv").code == 0
    stopped("sampling", 3, "w.toml")
    (name,) = (run["run"] for run in json.loads(call("runs", "--json").out)["runs"])
    early = call("runs", "decode", name)
    assert early.code == 2
    assert "which came as far as generate: step 3 of 5; wan-core run w.toml --resume" in early.err
    stopped("decoding and writing", 1, "w.toml", "--resume")
    write(stage="steps = 6", path="clip.mkv")
    assert call("run", "w.toml", "--resume").code == 2
    (run,) = json.loads(call("runs", "--json").out)["runs"]
    assert (run["run"], run["kept"], run["going_on"]) == (name, ["generate"], False)
    said = call("runs", "decode", name, "-o", "saved.mkv")
    assert said.code == 0, said.err
    assert "stages.0.steps was 5, is now 6" in said.err
    assert np.array_equal(frames(tmp_path / "saved.mkv"), frames(tmp_path / "whole.mkv"))
    assert call("runs").out == "there is no unfinished run\n"
    missing = call("runs", "decode", name)
    assert (missing.code, missing.err) == (
        2,
        f'there is no unfinished run "{name}"; wan-core runs lists them.\n',
    )


def test_a_sweep_goes_on_beside_the_videos_that_it_has_made(
    call: Call, stopped: Call, write: Write, tmp_path: Path
) -> None:
    write(stage="steps = 4\nseed = [1, 2, 3]", path="clip.mkv")
    assert call("run", "w.toml", "-o", "whole.mkv").code == 0
    said = stopped("sampling", 6, "w.toml")
    assert said.err.endswith("wan-core run w.toml --resume goes on where it was in run 2 of 3; "
                             "written before it: 1.\n") or "run 2 of 3" in said.err  # fmt: skip
    assert "done, its sweep is not" in call("runs").out
    (tmp_path / "clip-3.mkv").write_text("mine")
    again = call("run", "--resume")
    assert again.code == 0, again.err
    for seed, name in ((1, "clip-1"), (2, "clip-2"), (3, "clip-3-2")):
        made, whole = tmp_path / f"{name}.mkv", tmp_path / f"whole-{seed}.mkv"
        assert np.array_equal(frames(made), frames(whole))
    assert (tmp_path / "clip-3.mkv").read_text() == "mine"
    assert call("runs").out == "there is no unfinished run\n"


def test_a_card_with_another_command_line_starts_nothing(call: Call, write: Write) -> None:
    write()
    folder = cache_folder() / "runs" / "20260131-235959-abc"
    folder.mkdir(parents=True)
    for arguments in (["--help"], ["--resume"], ["--debug"], ["w.toml", "-s"], ["w.toml", "--x"]):
        Card("w.toml", "/x", "", tuple(arguments), "0" * 64, {}).write(folder)
        said = call("runs", "decode", folder.name)
        assert (said.code, said.out, said.err) == (
            2,
            "",
            'what is kept of how "w.toml" was run is damaged; name its workflow to wan-core run '
            "--resume.\n",
        ), arguments
        said = call("run", "--resume")
        assert (said.code, said.out) == (2, "")
        assert "there is no unfinished run;" in said.err


def test_what_is_over_and_what_the_sweep_has_not_is_said(call: Call, write: Write) -> None:
    workflow = write()
    folder = cache_folder() / "runs" / "20260131-235959-abc"
    folder.mkdir(parents=True)
    card = Card("w.toml", "/x", "", (str(workflow),), "0" * 64, {}, ("/x/a.mp4",))
    card.write(folder)
    assert call("runs", "decode", folder.name).err == (
        '20260131-235959-abc is over, and has written "/x/a.mp4"; wan-core run w.toml --resume goes '
        "on with its sweep.\n"
    )
    attrs.evolve(card, label="seed 7").write(folder)
    assert call("runs", "decode", folder.name).err == (
        'w.toml: the workflow has no run any more for "seed 7"; make it the same again.\n'
    )


def test_what_a_run_needs_and_is_not_there_is_said(call: Call, write: Write) -> None:
    workflow = write()
    folder = cache_folder() / "runs" / "20260131-235959-abc"
    folder.mkdir(parents=True)
    card = Card("w.toml", "/x", "", (str(workflow),), "0" * 64, {})
    card.write(folder)
    lock = locked(folder)
    assert lock is not None
    said = call("runs", "decode", folder.name)
    assert (said.code, said.err) == (
        5, "20260131-235959-abc is still going on, in another process; wait for it, or stop it.\n",
    )  # fmt: skip
    lock.release()
    workflow.unlink()
    for command in (("runs", "decode", folder.name), ("run", "--resume")):
        assert call(*command).err == (
            f'the workflow "{workflow}" of the unfinished run is not there any more; put it back '
            "where it was.\n"
        )
    attrs.evolve(card, workflow="stdin", arguments=()).write(folder)
    assert call("runs", "decode", folder.name).err.startswith(
        'nothing is known of how "stdin" was run: its workflow was no file, or '
    )


def test_runs_needs_no_torch_and_prints_nothing_raw(write: Write, tmp_path: Path) -> None:
    folder = cache_folder() / "runs" / "20260131-235959-abc"
    folder.mkdir(parents=True)
    card = {
        "format": 1, "workflow": "w.toml", "folder": "/x", "label": "", "plan": "0", "facts": {},
        "arguments": ["/x/w.toml", "-s", "stages.0.prompt=a\nb"], "outputs": [],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(card))
    (folder / "x.0-0.safetensors").write_bytes(b"\x1b[2J")
    program = (
        "import sys; from wan_core.cli import main; code = main(['runs']); "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert "nothing sampled yet" in done.stdout
