"""``wan-core doctor`` as a command: its report, its exit code, clearing caches, calibration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wan_core.cli import main
from wan_core.cli.caches import COMPILED, KEPT, TEXTS, Cleaned, clean, inventory
from wan_core.cli.checks import finding
from wan_core.config import cache_folder
from wan_core.planning import look
from wan_core.planning.calibration import find_calibration

Capture = pytest.CaptureFixture[str]
Checks = Callable[..., None]


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Let doctor make these checks only."""

    def put(**found: finding.Finding) -> None:
        made = {title: lambda one=one: [one] for title, one in found.items()}
        monkeypatch.setattr("wan_core.cli.doctor.CHECKS", made)

    return put


FINE = finding.ok("all is well")
ODD = finding.note("it is small", "enlarge it")
BAD = finding.problem("it is gone", "bring it back")


def test_a_report_of_what_is_in_order(checks: Checks, capsys: Capture) -> None:
    checks(disk=FINE)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out == "  disk  all is well\n\neverything is in order\n"


def test_problems_give_an_exit_code_of_their_own(checks: Checks, capsys: Capture) -> None:
    checks(disk=ODD)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("\n1 note\n")
    checks(disk=BAD, memory=BAD, torch=ODD, python=FINE)
    assert main(["doctor"]) == 5
    assert capsys.readouterr().out == (
        "problem  disk    it is gone; bring it back\n"
        "problem  memory  it is gone; bring it back\n"
        "note     torch   it is small; enlarge it\n"
        "         python  all is well\n"
        "\n2 problems and 1 note\n"
    )


def test_json(checks: Checks, capsys: Capture) -> None:
    checks(disk=BAD)
    assert main(["doctor", "--json"]) == 5
    (one,) = json.loads(capsys.readouterr().out)["findings"]
    assert one == {
        "check": "disk", "verdict": "problem", "text": "it is gone", "remedy": "bring it back",
    }  # fmt: skip


def test_doctor_works_where_torch_can_not_be_imported(tmp_path: Path) -> None:
    """Everything that does not need torch is looked at all the same."""
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12: no such file')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "wan_core", "doctor", "--json"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    found = json.loads(done.stdout)["findings"]
    problems = [one["text"] for one in found if one["verdict"] == "problem"]
    assert problems == ["torch can't be imported (OSError: libcudart.so.12: no such file)"]
    seen = {one["check"] for one in found}
    assert seen >= {"Python", "packages", "memory", "disk", "video", "plugins", "caches"}
    assert not seen & {"devices", "precision", "attention", "compiling"}
    calibrated = subprocess.run(
        [sys.executable, "-m", "wan_core", "doctor", "--calibrate"],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert (calibrated.returncode, calibrated.stdout) == (5, "")
    assert "torch can't be imported" in calibrated.stderr
    assert "Traceback" not in calibrated.stderr


def fill_caches(outside: Path) -> None:
    text, runs = cache_folder() / "text", cache_folder() / "runs"
    run = runs / "20260131-120000-ab_c12"
    run.mkdir(parents=True)
    text.mkdir()
    (text / ("a" * 64 + ".safetensors")).write_bytes(b"x" * 3_000_000)
    (text / "tmpx1_y.partial").write_bytes(b"x" * 1_000_000)
    compiled = cache_folder() / "compiled"
    for version, size in (("2.13.0+cpu-none-0.1.0-cpu", 2), ("2.11.0-3.6.0-0.1.0-NVIDIA_H200", 3)):
        (compiled / version / "inductor" / "ab").mkdir(parents=True)
        (compiled / version / "inductor" / "ab" / "code.so").write_bytes(b"x" * size * 1_000_000)
        (compiled / version / "inductor" / "outside").symlink_to(outside)
    (compiled / "mine").mkdir()
    (compiled / "2.0-none-0.1.0-cpu").symlink_to(outside)
    (run / "generate.safetensors").write_bytes(b"x" * 7_000_000)
    # not ours
    (text / "notes.txt").touch()
    (runs / "holiday").mkdir()
    outside.mkdir()
    (outside / "precious").touch()
    (runs / "20260131-120001-linked").symlink_to(outside)


def left() -> list[str]:
    return sorted(path.name for path in cache_folder().glob("*/*"))


def test_clearing_caches_touches_only_what_was_asked_for_and_ours(
    checks: Checks, capsys: Capture, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    fill_caches(outside)
    checks(disk=FINE)
    assert inventory(TEXTS) == (2, 4_000_000)
    assert inventory(KEPT)[0] == 1
    assert main(["doctor", "--clean-caches"]) == 0
    out = capsys.readouterr().out
    assert "freed: 2 encoded prompts, 4 MB\nfreed: 2 folders of compiled code, 5 MB\n" in out
    linked = "2.0-none-0.1.0-cpu"
    kept = [
        linked,
        "20260131-120000-ab_c12",
        "20260131-120001-linked",
        "holiday",
        "mine",
        "notes.txt",
    ]
    assert left() == sorted(kept)
    assert main(["doctor", "--clean-kept"]) == 0
    out = capsys.readouterr().out
    assert "freed: 1 kept results of runs that did not finish, 7 MB\n" in out
    assert left() == sorted({*kept} - {"20260131-120000-ab_c12"})
    assert (outside / "precious").exists()
    assert clean(TEXTS) == clean(COMPILED) == clean(KEPT) == Cleaned(0, 0)


def test_what_can_not_be_deleted_is_told(
    checks: Checks, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_caches(tmp_path / "outside")
    checks(disk=FINE)
    held = cache_folder() / "compiled" / "2.13.0+cpu-none-0.1.0-cpu"
    rmtree = shutil.rmtree

    def in_use(path: Path, ignore_errors: bool = False) -> None:
        if path != held:
            rmtree(path)
        elif ignore_errors:
            rmtree(path / "inductor" / "ab")
        else:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wan_core.cli.caches.shutil.rmtree", in_use)
    assert main(["doctor", "--clean-caches"]) == 0
    line = f"freed: 1 folders of compiled code, 5 MB; not deleted: {held} (Permission denied)\n"
    assert line in capsys.readouterr().out
    assert held.exists()


def test_what_other_runs_delete_in_the_meantime_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache_folder() / "compiled" / "2.13.0+cpu-none-0.1.0-cpu"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks" / "one").write_bytes(b"x" * 10)
    (folder / "code.so").write_bytes(b"x" * 1000)
    lstat = Path.lstat

    def vanishing(path: Path) -> os.stat_result:
        if path.name == "code.so":
            shutil.rmtree(folder / "locks", ignore_errors=True)
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", vanishing)
    assert inventory(COMPILED) == (1, 1000)


def test_a_folder_of_the_cache_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "2.0-none-0.1.0-cpu"
    elsewhere.mkdir(parents=True)
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "compiled").symlink_to(elsewhere.parent)
    assert clean(COMPILED) == Cleaned(0, 0)
    assert elsewhere.exists()


def test_what_caches_hold_is_reported(tmp_path: Path, capsys: Capture) -> None:
    fill_caches(tmp_path / "outside")
    from wan_core.cli.checks.setup import caches

    assert [(one.verdict, one.text.partition(",")[0]) for one in caches()][1:] == [
        ("ok", "encoded prompts: 2"),
        ("ok", "folders of compiled code: 2"),
        ("note", "kept results of runs that did not finish: 1"),
    ]


def test_calibrating_gives_plans_their_time(
    checks: Checks, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks(disk=FINE)
    # takes seconds, once in a process
    imports = {"transformers": 2.0}
    monkeypatch.setattr("wan_core.engine.measuring.import_seconds", lambda: imports)
    hello = str(Path(__file__).parents[2] / "examples" / "hello.toml")
    assert main(["plan", hello, "--device", "cpu"]) == 0
    assert "wan-core doctor --calibrate" in capsys.readouterr().out
    arguments = ["--calibrate", "--calibrate-seconds", "0.5", "--device", "cpu", "--json"]
    assert main(["doctor", *arguments]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)["calibration"]
    assert told["device"].endswith(f"({look('cpu').title})")
    assert "float32" in told["matmul"] and told["disk"] > 0 and told["encoding"]
    assert "measuring CPU" in printed.err and "written: " in printed.err
    found, problem = find_calibration(look("cpu"))
    assert found is not None and not problem
    assert main(["plan", hello, "--device", "cpu"]) == 0
    section = capsys.readouterr().out.partition("# Predicted time\n")[2].partition("\n\n")[0]
    assert [line.partition(":")[0] for line in section.splitlines()][-3:] == [
        "#   generate / sampling",
        "#   generate / decoding and writing",
        "#   together",
    ]


def test_devices_that_are_not_there(checks: Checks, capsys: Capture) -> None:
    checks(disk=FINE)
    assert main(["doctor", "--calibrate", "--device", "tpu"]) == 2
    assert capsys.readouterr().err.startswith('--device: there is no device "tpu"')
