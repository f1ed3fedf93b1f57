"""Predicted seconds: from work and rates, task by task, and only where everything is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
from calibrations import calibration_of

from wan_core.contract.events import Event, RunStarted, TaskStarted
from wan_core.media import write_video
from wan_core.models.vae import VaeConfig
from wan_core.models.wan import WanConfig
from wan_core.planning import Plan, look, make_plan
from wan_core.planning.calibration import calibration_file, save_calibration
from wan_core.planning.machine import Machine
from wan_core.planning.timing import CALIBRATE, seconds_of
from wan_core.planning.work import Work, decoder_work, flop, transformer_work
from wan_core.plugins import Plugins
from wan_core.workflow import parse_workflow

PLUGINS = Plugins.discover()
CPU = look("cpu")
TRANSFORMER = WanConfig(dim=192, ffn_dim=544, num_heads=4, num_layers=7, text_dim=128, text_len=64)
VAE = VaeConfig(dim=8, dim_mult=(2, 4, 7, 8), num_res_blocks=1)
TASKS = [
    "text / loading text encoder",
    "text / encoding",
    "generate / loading vae",
    "generate / loading transformer",
    "generate / sampling",
    "generate / decoding and writing",
]


def plan(stage: str = "", model: str = 'family = "tiny-t2v"', folder: Path = Path("/tmp")) -> Plan:
    text = f"""
format = 1
[model]
{model}
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
{stage}
"""
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu")


def section(made: Plan) -> list[str]:
    return dict(made.describe()).get("Predicted time", [])


def test_without_a_calibration_the_command_is_named() -> None:
    made = plan()
    assert made.seconds == {}
    assert section(made) == [CALIBRATE]


def test_a_damaged_calibration_is_named_too() -> None:
    calibration_file().parent.mkdir(parents=True, exist_ok=True)
    calibration_file().write_text("{")
    assert section(plan()) == [f"{calibration_file()} is damaged and not used; {CALIBRATE}"]


def test_the_tasks_are_those_of_a_run_in_their_order() -> None:
    save_calibration(calibration_of(CPU))
    made = plan()
    assert list(made.seconds) == TASKS
    assert all(seconds > 0 for seconds in made.seconds.values())
    lines = section(made)
    assert lines[0] == "text / loading text encoder: about 2.0 s"
    assert [line.partition(":")[0] for line in lines] == [*TASKS, "together"]


def test_sampling_is_steps_times_branches_times_a_forward_pass() -> None:
    # nothing but operations counts
    free = {"elementwise": ((1.0, 1e30),), "norm": ((1.0, 1e30),), "call": 1e-30}
    save_calibration(calibration_of(CPU, **free))
    one = flop(transformer_work(TRANSFORMER, 9 * 6 * 6, 4)) / 1e12
    assert plan("steps = 10").seconds["generate / sampling"] == pytest.approx(20 * one)
    unguided = plan("steps = 10\nguidance = 1.0").seconds
    assert unguided["generate / sampling"] == pytest.approx(10 * one)
    part = plan("steps = 10\nstart_step = 2\nend_step = 6").seconds
    assert part["generate / sampling"] == pytest.approx(8 * one)
    decoding = flop(decoder_work(VAE, 96, 96, 33, 4)) / 1e12 + 33 * 96 * 96 / 1e7
    assert unguided["generate / decoding and writing"] == pytest.approx(decoding)
    short = plan("frames = 17").seconds["generate / sampling"]
    assert short == pytest.approx(48 * flop(transformer_work(TRANSFORMER, 5 * 36, 4)) / 1e12)


@pytest.mark.parametrize(("share", "seconds"), [(0.0, 1.0), (1.0, 0.1), (0.5, 0.55)])
def test_loading_is_reading_and_converting(
    monkeypatch: pytest.MonkeyPatch, share: float, seconds: float
) -> None:
    """A megabyte takes a second from the disk, a tenth from memory."""
    monkeypatch.setattr("wan_core.planning.timing.cached_share", lambda path: share)
    save_calibration(calibration_of(CPU, disk=1e6, cached=1e7))
    made = plan()
    file = made.models["main"].files["transformer"]
    converted = (file.bytes + 4 * file.elements) / 1e11
    expected = file.bytes / 1e6 * seconds + converted
    assert made.seconds["generate / loading transformer"] == pytest.approx(expected)


def test_a_model_that_two_stages_share_is_loaded_once() -> None:
    save_calibration(calibration_of(CPU))
    more = '[[stages]]\nname = "again"\nuse = "generate"\nprompt = "a red circle"\n'
    made = plan(f'name = "first"\n{more}')
    assert [t for t in made.seconds if "loading" in t] == [
        "text / loading text encoder",
        "first / loading vae",
        "first / loading transformer",
    ]
    assert made.seconds["again / sampling"] == made.seconds["first / sampling"]


def test_what_is_not_known_is_not_predicted() -> None:
    save_calibration(calibration_of(CPU, matmul={"bfloat16": ((1.0, 1e12),)}))
    assert section(plan()) == ["this precision is not calibrated"]
    assert section(plan(model='family = "tiny-random"')) == []
    assert plan(model='family = "tiny-random"').seconds == {}


def test_a_call_takes_as_long_as_its_operations_or_its_bytes() -> None:
    found = calibration_of(CPU, call=1e-3)
    large = Work("matmul", 1e12, 1.0, times=3)
    moving = Work("matmul", 1.0, 1e11, times=2, small=500)
    assert seconds_of([large], found, "float32") == pytest.approx(3)
    assert seconds_of([moving], found, "float32") == pytest.approx(2 + 0.5)
    assert seconds_of([Work("norm", 0, 5e10)], found, "float32") == pytest.approx(0.5)


def test_a_gpu_computes_while_the_next_call_is_made() -> None:
    found = calibration_of(Machine("cuda:0", "H200", 1, 1), call=1e-3)
    busy = Work("matmul", 1e12, 1.0, times=2, small=500)
    assert seconds_of([busy], found, "bfloat16") == pytest.approx(2)
    idle = attrs.evolve(busy, small=5000)
    assert seconds_of([idle], found, "bfloat16") == pytest.approx(5)


def test_rates_are_taken_at_the_size_of_the_call() -> None:
    found = calibration_of(
        CPU,
        matmul={"float32": ((1e6, 1e9), (1e12, 1e12))},
        convolution={"float32": ((16.0, 1e9), (96.0, 1e12))},
    )
    assert seconds_of([Work("matmul", 1e6, 0)], found, "float32") == pytest.approx(1e-3)
    narrow = Work("convolution", 1e9, 0, channels=3)
    wide = Work("convolution", 1e12, 0, channels=384)
    assert seconds_of([narrow, wide], found, "float32") == pytest.approx(2)


@pytest.mark.parametrize("given", ["", 'video = "given.mkv"\nstrength = 0.5\n'])
def test_every_predicted_task_is_one_that_the_run_reports(tmp_path: Path, given: str) -> None:
    """Listeners find their tasks in the prediction by name."""
    from wan_core.engine import Session

    save_calibration(calibration_of(CPU))
    write_video(tmp_path / "given.mkv", [np.zeros((5, 3, 32, 32), np.float32)], 12)
    made = plan(f"{given}width = 32\nheight = 32\nframes = 5\nsteps = 2", folder=tmp_path)
    assert ("generate / encoding video" in made.seconds) == bool(given)
    seen: list[Event] = []
    with Session(plugins=PLUGINS, device="cpu") as session:
        result = session.run(made, listen=seen.append)
    assert set(made.seconds) <= set(result.seconds)
    (started,) = [one for one in seen if isinstance(one, RunStarted)]
    assert started.predicted == made.seconds
    tasks = [f"{one.stage} / {one.task}" for one in seen if isinstance(one, TaskStarted)]
    assert [task for task in tasks if task in made.seconds] == list(made.seconds)


def test_predicting_imports_no_torch() -> None:
    script = """
import sys
from pathlib import Path
from wan_core.planning import make_plan
from wan_core.planning.calibration import save_calibration
from wan_core.plugins import Plugins
from wan_core.workflow import load_workflow
sys.path.insert(0, sys.argv[1])
from calibrations import calibration_of
from wan_core.planning import look
save_calibration(calibration_of(look("cpu")))
plugins = Plugins.discover()
plan = make_plan(load_workflow(sys.argv[2], plugins=plugins), plugins, device="cpu")
print(len(plan.seconds), {"torch", "transformers"} & set(sys.modules))
"""
    here = Path(__file__)
    arguments = [str(here.parent), str(here.parents[2] / "examples" / "hello.toml")]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stdout == "6 set()\n", done.stderr
