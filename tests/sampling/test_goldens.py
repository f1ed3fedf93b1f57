"""The reference cases of the topic samplers, through the product's loop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from wan_core.testing.golden.case import Case
from wan_core.testing.golden.kinds.samplers import HANDLERS

CASES = sorted((Path(__file__).parent.parent / "golden" / "samplers").glob("*.json"))


def test_there_are_cases() -> None:
    assert len(CASES) > 30


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = Case(path)
    HANDLERS[case.kind](case)
    assert case.checks
    assert [check for check in case.checks if not check.ok] == []
    assert case.uncompared() == []


def altered(case: Path, folder: Path, drop: tuple[str, ...] = (), **fields: object) -> Case:
    """The case with other JSON fields; ``drop`` names fields that it then lacks."""
    data = {**json.loads(case.read_text()), **fields}
    (folder / case.name).write_text(json.dumps({k: v for k, v in data.items() if k not in drop}))
    shutil.copy(case.with_suffix(".safetensors"), folder)
    return Case(folder / case.name)


def of_name(name: str) -> Path:
    return next(path for path in CASES if path.stem == name)


def test_step_distill_without_a_shift_has_shift_five(tmp_path: Path) -> None:
    listed = of_name("lightx2v_step_distill")
    assert json.loads(listed.read_text())["shift"] == 5.0
    for case in (altered(listed, tmp_path, ("shift",)), altered(listed, tmp_path, shift=None)):
        HANDLERS[case.kind](case)
        assert [check for check in case.checks if not check.ok] == []


def test_optional_fields_may_be_null(tmp_path: Path) -> None:
    optional = ("custom_sigmas", "denoising_step_list", "transformer_dim", "start_step", "end_step")
    case = altered(of_name("kijai_euler"), tmp_path, **dict.fromkeys(optional))
    HANDLERS[case.kind](case)
    assert [check for check in case.checks if not check.ok] == []


def test_a_video_of_one_given_frame_is_told_the_timestep_of_the_step(tmp_path: Path) -> None:
    case = altered(of_name("wan22_ti2v_image_loop"), tmp_path)
    whole = dict(case.tensors)
    length = whole["inputs.noise"].shape[-2] // 2 * (whole["inputs.noise"].shape[-1] // 2)
    for name in ("inputs.noise", "inputs.c"):
        whole[name] = whole[name][:, :1]
    # the given frame keeps t = 0, what was behind it is padding now and gets the step's t
    whole["outputs.trajectory"] = whole["outputs.trajectory"][:, :, :1]
    told = whole["outputs.token_timesteps"]
    assert bool((told[:, :length] == 0).all())
    assert bool((told[:, length:] == told[:, length:][:, :1]).all())
    case._tensors = whole
    HANDLERS[case.kind](case)
    assert [check for check in case.checks if not check.ok] == []
