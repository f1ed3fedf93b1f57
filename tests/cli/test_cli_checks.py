"""The checks of ``wan-core doctor``, each on machines made up for it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections import namedtuple
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_plugins import found
from platform_samples import RTX, FakeCuda, fake_torch

from wan_core.cli.checks import compiling, devices, environment, machine, setup, software, video
from wan_core.cli.checks.finding import CHECKS, Finding, examine, ok
from wan_core.contract.descriptions import Command, Solver
from wan_core.contract.lazy import resolve
from wan_core.planning import look
from wan_core.planning.calibration import calibration_file

GB = 10**9


def verdicts(findings: Iterable[Finding]) -> list[str]:
    return [one.verdict for one in findings]


def the_one(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_every_check_is_there_and_says_whole_things_on_this_machine() -> None:
    assert all(callable(resolve(path)) for path in CHECKS.values())
    findings = list(examine({k: v for k, v in CHECKS.items() if k != "video"}))
    assert {one.check for one in findings} == set(CHECKS) - {"video"}
    for one in findings:
        assert one.text and not one.text.endswith("."), one
        assert (one.verdict == "ok") == (one.remedy == ""), one
        assert "could not be checked" not in one.text, one


def test_a_broken_check_is_a_finding_of_its_own() -> None:
    def broken() -> Iterator[Finding]:
        yield ok("half of it")
        raise RuntimeError("no such\nthing")

    def left() -> Iterator[Finding]:
        raise SystemExit(3)

    findings = list(
        examine({"a": broken, "b": "not.there:at_all", "c": left, "d": lambda: [ok("x")]})
    )
    assert [one.check for one in findings] == ["a", "b", "c", "d"]
    assert verdicts(findings) == ["note", "note", "note", "ok"]
    assert findings[0].text == "this could not be checked (RuntimeError: no such thing)"


# -- software -------------------------------------------------------------------------------------------


def test_python() -> None:
    assert verdicts(software.python()) == ["ok"]
    old = the_one(software.python((3, 10, 4)))
    assert (old.verdict, old.remedy) == ("problem", "install Python 3.11 or newer")
    assert old.text.startswith("Python 3.10.4 ")


@pytest.mark.parametrize(
    ("version", "cuda", "available", "driver", "expected"),
    [
        ("2.11.0+cpu", None, False, False, [("ok", "CPU build")]),
        ("2.12.1", "12.8", False, False, [("ok", "built for CUDA 12.8; this machine has no NVIDIA")]),
        ("2.12.1", "12.8", True, True, [("ok", "built for CUDA 12.8")]),
        ("2.11.0+cpu", None, False, True, [("problem", "CPU build, but this machine has an NVIDIA")]),
        ("2.11.0", "13.0", False, True, [("problem", "can't use the driver (driver 470.1")]),
        (
            "2.10.0+cu126", "12.6", True, True,
            [("problem", "torch 2.10.0+cu126 is too old"), ("ok", "built for CUDA")],
        ),
    ],
)  # fmt: skip
def test_the_build_of_torch(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    version: str,
    cuda: str | None,
    available: bool,
    driver: bool,
    expected: list[tuple[str, str]],
) -> None:
    fake = fake_torch(version=version, built=cuda, gpus=[RTX] if available else [])
    monkeypatch.setitem(sys.modules, "torch", fake)
    monkeypatch.setattr(software, "has_nvidia_driver", lambda: driver)
    page = tmp_path / "version"
    page.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.199.02  Thu May 11\n")
    monkeypatch.setattr(software, "DRIVER", page)
    findings = list(software.torch_build())
    assert verdicts(findings) == [verdict for verdict, _ in expected]
    for one, (_, text) in zip(findings, expected, strict=True):
        assert text in one.text


REQUIRED = {
    "wan-core": ["one>=2", "two>=1.5; python_version >= '3.8'", "dev>=1; extra == 'dev'"],
    "wan-plugin-x": ["three<3", "four; sys_platform == 'nowhere'"],
}


def test_packages_that_are_missing_or_of_a_wrong_version() -> None:
    def check(versions: dict[str, str]) -> list[Finding]:
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        return list(software.packages(lambda: REQUIRED, version))

    right = check({"one": "2.0", "two": "1.6", "three": "2.9"})
    assert the_one(right).text == "everything that wan-core and wan-plugin-x need is there"
    wrong = check({"one": "1.9", "three": "3.0"})
    assert [(one.verdict, one.text, one.remedy) for one in wrong] == [
        ("problem", "one is 1.9, but wan-core requires one>=2", "pip install 'one>=2'"),
        ("problem", "two, which wan-core requires, is not installed", "pip install 'two>=1.5'"),
        ("problem", "three is 3.0, but wan-plugin-x requires three<3", "pip install 'three<3'"),
    ]


def test_without_packaging_only_absence_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "packaging.requirements", None)
    versions = {"one": "0.1", "two": "1", "three": "9", "four": "1"}
    assert verdicts(software.packages(lambda: REQUIRED, versions.__getitem__)) == ["ok"]


def test_the_requirements_are_those_of_the_installed_package_or_of_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    assert any(line.startswith("torch>=2.11") for line in software.required()["wan-core"])


# -- devices --------------------------------------------------------------------------------------------


def test_the_memory_of_a_gpu() -> None:
    cpu, gpu = devices.devices(fake_torch(gpus=[RTX]))
    assert (cpu.verdict, gpu.verdict) == ("ok", "ok")
    assert gpu.text == "cuda:0: RTX, capability 8.9, 20.0 GB of 24.0 GB free"
    _, used = devices.devices(fake_torch(gpus=[FakeCuda("RTX", (8, 9), 2 * GB, 24 * GB)]))
    assert (used.verdict, used.remedy) == ("note", "end it, or state memory.vram")


@pytest.mark.parametrize(
    ("capability", "verdict", "remedy"),
    [
        ((8, 0), "ok", ""),
        ((8, 9), "ok", ""),  # runs code for 8.0
        ((12, 0), "ok", ""),
        ((10, 0), "problem", "use another device, or a torch built for it"),
        ((9, 0), "ok", ""),
        ((13, 0), "problem", "install a newer torch"),
        ((6, 1), "problem", "use another device, or a torch built for it"),
    ],
)
def test_code_for_a_gpu(capability: tuple[int, int], verdict: str, remedy: str) -> None:
    torch = fake_torch(gpus=[FakeCuda("GPU", capability, 20 * GB, 24 * GB)])
    _, gpu = devices.devices(torch)
    assert (gpu.verdict, gpu.remedy) == (verdict, remedy)


def test_code_that_the_driver_translates_serves_all_newer_gpus() -> None:
    torch = fake_torch(gpus=[FakeCuda("GPU", (13, 0), 20 * GB, 24 * GB)])
    torch.cuda.get_arch_list = lambda: ["sm_75", "compute_120"]
    assert verdicts(devices.devices(torch)) == ["ok", "ok"]


def failing(monkeypatch: pytest.MonkeyPatch, *dtypes: str) -> None:
    right = devices._multiplied

    def wrong(torch: Any, device: str, dtype: str) -> str:
        return "not implemented" if dtype in dtypes else right(torch, device, dtype)

    monkeypatch.setattr(devices, "_multiplied", wrong)


def test_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    works = the_one(devices.precisions())
    assert (works.verdict, works.text) == (
        "ok",
        "cpu: float32, bfloat16, float16 can be used",
    )
    failing(monkeypatch, "float16")
    some = the_one(devices.precisions())
    assert (some.verdict, some.text) == (
        "note",
        "cpu: float32, bfloat16 can be used; float16 can't",
    )
    failing(monkeypatch, "float32", "float16")
    none = the_one(devices.precisions())
    assert none.verdict == "problem"
    assert none.text.endswith("float32 fails (not implemented)")
    assert none.remedy == 'say precision = "bfloat16"'


def test_a_wrong_product_is_seen() -> None:
    class Wrong:
        float32 = torch.float32

        @staticmethod
        def ones(*size: int, **_: Any) -> torch.Tensor:
            return torch.full(size, 2.0)

    assert devices._multiplied(Wrong, "cpu", "float32") == "a wrong product, 131072"
    assert "float99" in devices._multiplied(torch, "cpu", "float99")


def test_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    assert the_one(devices.attention()) == ok("cpu: attention works")
    monkeypatch.setattr(devices, "_attend", lambda torch, q: q * 2)
    wrong = the_one(devices.attention())
    assert (wrong.verdict, wrong.text) == ("problem", "cpu: attention fails (a wrong result)")


def test_kernels_of_attention() -> None:
    def kernels(*working: str) -> Finding:
        @contextlib.contextmanager
        def sdpa_kernel(backend: str) -> Iterator[None]:
            if backend not in working:
                raise RuntimeError("no kernel")
            yield

        backends = SimpleNamespace(**{name: name for name in devices.BACKENDS.values()})
        functional = SimpleNamespace(scaled_dot_product_attention=lambda q, k, v: q)
        attention = SimpleNamespace(sdpa_kernel=sdpa_kernel, SDPBackend=backends)
        nn = SimpleNamespace(attention=attention, functional=functional)
        return devices._kernels(SimpleNamespace(nn=nn), "cuda:0", None)

    fast = kernels("FLASH_ATTENTION", "MATH")
    assert (fast.verdict, fast.text) == (
        "ok",
        "cuda:0: attention works with the kernels flash, math",
    )
    assert kernels("MATH").verdict == "note"


def test_tools_of_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "import_torch", lambda: fake_torch(gpus=[RTX]))
    monkeypatch.setattr(compiling, "find_spec", lambda name: name)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.delenv("CXX", raising=False)
    assert verdicts(compiling.tools()) == ["ok", "ok"]
    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert [(one.verdict, one.remedy) for one in compiling.tools()] == [
        ("note", "install g++ to compile on the CPU"),
        ("note", "pip install triton"),
    ]


@pytest.mark.parametrize(
    ("program", "seconds", "verdict", "text"),
    [
        ("import sys", 60, "ok", "cpu: torch.compile works"),
        ("raise OSError('no g++')", 60, "note", "cpu: torch.compile fails (OSError: no g++)"),
        ("import time; time.sleep(60)", 0.5, "note", "cpu: torch.compile took over 0.5 s"),
    ],
)
def test_a_trial_of_compiling(
    monkeypatch: pytest.MonkeyPatch, program: str, seconds: float, verdict: str, text: str
) -> None:
    monkeypatch.setattr(compiling, "PROGRAM", program)
    one = the_one(compiling.trial(seconds))
    assert (one.verdict, one.text) == (verdict, text)


# -- machine --------------------------------------------------------------------------------------------


def test_memory_and_the_bound_of_a_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bound = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "BOUNDS", (tmp_path / "none", bound))
    monkeypatch.setattr(machine, "free_ram", lambda: 9 * GB)
    monkeypatch.setattr(machine.os, "sysconf", lambda name: 10**5)  # 10 GB
    nowhere = tmp_path / "shm"
    for text, verdict, words in (
        ("max", "ok", "9.0 GB of 10.0 GB RAM are free"),
        (str(2**63), "ok", "9.0 GB of 10.0 GB RAM are free"),
        (str(4 * GB), "ok", "4.0 GB of 10.0 GB RAM are free, a container may have 4.0 GB"),
        (str(GB), "note", "1.0 GB of 10.0 GB RAM are free, a container may have 1.0 GB"),
    ):  # fmt: skip
        bound.write_text(text + "\n")
        one = the_one(machine.memory(nowhere))
        assert (one.verdict, one.text) == (verdict, words)


Usage = namedtuple("Usage", "total used free")


def test_small_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**26, 0, 2**26))
    small = list(machine.memory(tmp_path))[1]
    assert (small.verdict, small.remedy) == ("note", "start the container with --shm-size=1g")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30, 0, 2**30))
    assert len(list(machine.memory(tmp_path))) == 1


@pytest.mark.parametrize(("free", "verdict"), [(GB * 9, "ok"), (GB, "note"), (10**7, "problem")])
def test_space_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, verdict: str
) -> None:
    asked = []
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: asked.append(path) or Usage(free, 0, free)
    )
    one = the_one(machine.disk({"cache": tmp_path / "not" / "yet"}))
    assert (one.verdict, asked) == (verdict, [tmp_path])
    assert one.text.startswith("cache: ") and str(tmp_path / "not" / "yet") in one.text


def test_a_folder_that_may_not_be_written_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    one = the_one(machine.disk({"cache": tmp_path}))
    assert (one.verdict, one.text) == ("problem", f"cache: {tmp_path} may not be written to")


# -- environment ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "text", "remedy"),
    [
        ({"WAN_CORE_CAHCE": "x"}, "WAN_CORE_CAHCE means nothing to wan-core", "WAN_CORE_CACHE"),
        ({"CUDA_LAUNCH_BLOCKING": "1"}, "makes every call wait", "unset CUDA_LAUNCH_BLOCKING"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "hides all GPUs", "unset CUDA_VISIBLE_DEVICES"),
        ({"OMP_NUM_THREADS": "1"}, 'OMP_NUM_THREADS is "1" on 8 cores', "unset OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "64"}, 'OMP_NUM_THREADS is "64" on 8 cores', "unset OMP_NUM_THREADS"),
        ({"HF_HOME": "/nowhere/\x1b[2J"}, "HF_HOME names a folder that is not", "correct HF_HOME"),
    ],
)
def test_variables_that_do_harm(variables: dict[str, str], text: str, remedy: str) -> None:
    first = next(iter(environment.variables(variables, cores=8)))
    assert first.verdict == "note"
    assert text in first.text and remedy in first.remedy
    assert "\x1b" not in first.text


def test_variables_in_order() -> None:
    assert the_one(environment.variables({})).text == "no variable is set that changes a run"
    one = the_one(
        environment.variables({"OMP_NUM_THREADS": "8", "PYTORCH_CUDA_ALLOC_CONF": "a\nb"}, cores=8)
    )
    assert one.verdict == "ok"
    assert one.text == r'set are OMP_NUM_THREADS="8", PYTORCH_CUDA_ALLOC_CONF="a\nb"'


@pytest.mark.parametrize(
    ("encoding", "verdict"), [("utf-8", "ok"), ("UTF8", "ok"), ("ANSI_X3.4-1968", "note")]
)
def test_the_terminal(encoding: str, verdict: str) -> None:
    assert verdicts(environment.terminal(encoding)) == [verdict]


# -- video ----------------------------------------------------------------------------------------------


def test_the_encoders_of_this_installation() -> None:
    one = the_one(video.encoders())
    assert one.verdict == "ok"
    assert "mp4 (H.264)" in one.text


def test_encoders_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(video, "ENCODERS", {"mp4 (H.264)": ("none1", "none2"), "webp": ("none3",)})
    assert verdicts(video.encoders(av)) == ["problem", "note"]
    monkeypatch.setattr(video, "ENCODERS", {"mp4 (H.264)": ("none1", "libx264")})
    assert verdicts(video.encoders(av)) == ["ok"]
    monkeypatch.setitem(sys.modules, "av", None)
    missing = the_one(video.encoders())
    assert (missing.verdict, missing.remedy) == ("problem", "pip install av")


# -- the user's own -------------------------------------------------------------------------------------


def test_the_configuration(own_configuration: Path) -> None:
    assert "none is needed" in the_one(setup.configuration()).text
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text("[plugins]\ndisable = []\n")
    assert the_one(setup.configuration()) == ok(f"{own_configuration} is valid")
    own_configuration.write_text("[plugin]\n")
    one = the_one(setup.configuration())
    assert (one.verdict, one.remedy) == ("problem", 'did you mean "plugins"')


def test_plugins(install_plugins: Any, own_configuration: Path) -> None:
    assert the_one(setup.plugins()) == ok("no plugins are installed")
    install_plugins(
        found("good", Solver("s", "a solver", "m:s")),
        found("broken", error=ValueError("of no use")),
        found("twin", Solver("s", "a solver", "m:t")),
        found("hidden", Command("run", "x", "m:c")),
        found("idle"),
    )
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text('[plugins]\ndisable = ["idle", "gone"]\n')
    findings = list(setup.plugins())
    assert [(one.verdict, one.text.partition(" (")[0]) for one in findings] == [
        ("problem", "plugin broken"),
        ("problem", "solver 's' is claimed by plugins good and twin"),
        ("note", 'command "run" of plugin hidden'),
        ("note", "switched off: idle"),
        ("note", "there is no plugin 'gone' to switch off"),
        ("ok", "in use: good 1.2, twin 1.2, hidden 1.2"),
    ]


def test_whether_the_machine_is_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "look", lambda device: look("cpu"))
    assert the_one(setup.calibration()).verdict == "note"
    calibration_file().parent.mkdir(parents=True, exist_ok=True)
    calibration_file().write_text("{")
    assert the_one(setup.calibration()).text == f"{calibration_file()} is damaged and not used"
