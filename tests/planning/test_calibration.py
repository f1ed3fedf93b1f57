"""Calibrations on disk: kept by device, and never trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from calibrations import calibration_of

from wan_core.planning import look
from wan_core.planning.calibration import (
    MOST_BYTES,
    Calibration,
    calibration_file,
    device_title,
    find_calibration,
    identity,
    rate_at,
    read_calibrations,
    save_calibration,
)
from wan_core.planning.machine import Machine

CPU = look("cpu")


def test_what_is_saved_is_found_again() -> None:
    assert find_calibration(CPU) == (None, "")
    saved = calibration_of(CPU)
    assert save_calibration(saved) == calibration_file()
    assert find_calibration(CPU) == (saved, "")
    assert [path.name for path in calibration_file().parent.iterdir()] == ["calibration.json"]


def test_devices_versions_and_threads_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Machine("cuda:0", "NVIDIA H200", 10**11, 10**11)
    save_calibration(calibration_of(gpu, call=3e-6))
    save_calibration(calibration_of(CPU, call=1e-6))
    save_calibration(calibration_of(CPU, call=2e-6))
    assert len(read_calibrations()[0]) == 2
    found, _ = find_calibration(CPU)
    assert found is not None and found.call == 2e-6
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert find_calibration(CPU) == (None, "")
    on_gpu, _ = find_calibration(gpu)
    assert on_gpu is not None and on_gpu.threads == 0
    monkeypatch.setattr("wan_core.planning.calibration.metadata.version", lambda _: "9.9")
    assert find_calibration(gpu) == (None, "")


def test_the_title_of_a_cpu_tells_processors_apart() -> None:
    assert device_title(CPU).endswith(f"({CPU.title})")
    assert device_title(Machine("cuda:0", "RTX", 1, 1)) == "RTX"


def damaged(**changes: Any) -> str:
    content = attrs.asdict(calibration_of(CPU))
    content.update(changes)
    return json.dumps({"format": 1, "devices": [content]})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 1, "devices": {}}',
        '{"format": 1, "devices": [1]}',
        '{"format": 1, "devices": [{}]}',
        "[" * 100_000,
        " " * (MOST_BYTES + 1),
        damaged(call=0),
        damaged(call="fast"),
        damaged(call=True),
        damaged(call=float("nan")),
        damaged(disk=float("inf")),
        damaged(disk=-1),
        damaged(threads=1.5),
        damaged(device="x" * 1000),
        damaged(elementwise=[]),
        damaged(elementwise=[[1, 2], [1, 3]]),
        damaged(elementwise=[[2, 2], [1, 3]]),
        damaged(elementwise=[[1, 2, 3]]),
        damaged(elementwise=[[n + 1, 1] for n in range(1000)]),
        damaged(matmul={"float32": [[1, 0]]}),
        damaged(matmul=[["float32", [[1, 1]]]]),
        damaged(imports={"torch": 10**400}),
    ],
)
def test_a_damaged_file_counts_as_empty_and_is_named(content: str) -> None:
    calibration_file().parent.mkdir(parents=True, exist_ok=True)
    calibration_file().write_text(content)
    assert find_calibration(CPU) == (None, f"{calibration_file()} is damaged")
    save_calibration(calibration_of(CPU))
    assert find_calibration(CPU)[0] is not None


def test_files_of_others_and_places_that_are_no_file() -> None:
    path = calibration_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"format": 2, "devices": "of the future"}')
    assert find_calibration(CPU) == (None, f"{path} was written by another version")
    path.write_bytes(b"\xff\xfe\x00")
    assert find_calibration(CPU)[1].endswith("is damaged")
    path.unlink()
    path.mkdir()
    assert "can't be read" in find_calibration(CPU)[1]


def test_rates_between_points_lie_on_a_line_of_logarithms() -> None:
    curve = ((10.0, 1.0), (1000.0, 100.0), (2000.0, 50.0))
    assert [rate_at(curve, size) for size in (1, 10)] == [1, 1]
    assert rate_at(curve, 100) == pytest.approx(10)
    assert rate_at(curve, 1000) == pytest.approx(100)
    assert rate_at(curve, 1e9) == 50


def test_reading_needs_no_torch_and_no_folder(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("WAN_CORE_CACHE", str(tmp_path / "not" / "there"))
    assert read_calibrations() == ((), "")
    assert isinstance(identity(CPU)[2], int)
    assert attrs.fields(Calibration).call.metadata["check"](2) == 2.0
