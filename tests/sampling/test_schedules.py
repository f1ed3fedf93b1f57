"""Schedules: published values, slices, the user's own levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wan_core.contract.descriptions import Solver
from wan_core.contract.errors import WorkflowError
from wan_core.contract.lazy import resolve
from wan_core.sampling import recipes
from wan_core.sampling.catalog import SOLVERS
from wan_core.sampling.experts import is_high_noise
from wan_core.sampling.noise import noise_sources, start_latents
from wan_core.sampling.schedules import Schedule, beta_spaced, shifted

FREE = [s.name for s in SOLVERS if s.step_counts() is None or s.most_steps == 50]


def recipe(name: str) -> recipes.Recipe:
    found: recipes.Recipe = resolve(next(s.build for s in SOLVERS if s.name == name))
    return found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FREE), st.integers(1, 50), st.floats(1.0, 16.0))
def test_levels_fall_from_at_most_one_to_the_end(name: str, steps: int, shift: float) -> None:
    schedule = recipe(name)(steps, shift).schedule
    assert schedule.steps == steps
    sigmas = schedule.sigmas.double()
    assert float(sigmas[0]) <= 1.0
    assert float(sigmas[-1]) == pytest.approx(0.0, abs=2e-6)
    assert bool((sigmas[1:] < sigmas[:-1]).all())
    # what the model is told is the level it is at, up to truncation
    difference = schedule.sigmas[:-1].double() * 1000 - schedule.timesteps.double()
    assert bool((difference > -2e-3).all() and (difference < 1.001).all())


def test_wans_own_unipc() -> None:
    schedule = recipes.unipc(10, 5.0).schedule
    want = [0.9998, 0.978048, 0.952154, 0.92081, 0.882093, 0.833055]
    assert schedule.sigmas.tolist()[:6] == pytest.approx(want, abs=1e-6)
    assert schedule.timesteps.tolist()[:6] == [999, 978, 952, 920, 882, 833]
    assert schedule.sigmas.dtype == torch.float32
    assert schedule.timesteps.dtype == torch.int64


def test_timesteps_are_truncated_before_rounding_to_float32() -> None:
    # S of the last level is 0.25 but for the last bit, and upstream gives 249
    schedule = recipes.diffusers_dpmpp(20, 3.0).schedule
    assert schedule.timesteps.tolist()[-2] == 249


def test_the_first_timestep_may_occur_twice() -> None:
    schedule = recipes.unipc(100, 12.0).schedule
    assert schedule.timesteps.tolist()[:3] == [999, 999, 998]


@pytest.mark.parametrize(
    ("steps", "shift", "boundary", "high"),
    [
        (40, 12, 0.875, 26),
        (40, 5, 0.9, 15),
        (20, 12, 0.875, 13),
        (20, 5, 0.9, 8),
        (8, 5, 0.9, 3),
        (8, 5, 0.875, 4),
        (30, 8, 0.875, 16),
    ],
)
def test_steps_of_the_high_noise_expert(
    steps: int, shift: float, boundary: float, high: int
) -> None:
    schedule = recipes.unipc(steps, shift).schedule
    assert sum(is_high_noise(float(t), boundary) for t in schedule.timesteps) == high


@given(st.integers(0, 11), st.integers(1, 12))
def test_a_slice_is_the_part_between(start: int, end: int) -> None:
    whole = recipes.euler(12, 5.0).schedule
    if start >= end:
        with pytest.raises(WorkflowError):
            whole.sliced(start, end)
        return
    part = whole.sliced(start, end)
    assert torch.equal(part.sigmas, whole.sigmas[start : end + 1])
    assert torch.equal(part.timesteps, whole.timesteps[start:end])


def test_a_slice_by_noise_level() -> None:
    whole = Schedule.from_sigmas([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])
    assert whole.sliced(0.7, 0.3).sigmas.tolist() == pytest.approx([0.6, 0.4, 0.2])
    assert whole.sliced(0.8).steps == 4
    assert whole.sliced(1.0, 0.0).steps == 5
    with pytest.raises(WorkflowError):
        whole.sliced(0.3, 0.5)


def test_two_slices_share_the_level_between_them() -> None:
    whole = recipes.unipc(8, 5.0).schedule
    first, second = whole.sliced(0, 3), whole.sliced(3)
    assert first.step(2).next_sigma == second.step(0).sigma
    assert first.steps + second.steps == whole.steps


def test_own_levels_are_used_verbatim() -> None:
    levels = [1.0, 0.9375, 0.8333, 0.625, 0.0]
    schedule = recipes.unipc(sigmas=levels).schedule
    assert schedule.sigmas.tolist() == pytest.approx(levels, abs=1e-7)
    assert schedule.timesteps.tolist() == [1000, 937, 833, 625]


@pytest.mark.parametrize(
    "levels",
    [[1.0], [0.5, 0.5, 0.0], [0.2, 0.4], [1.2, 0.0], [0.5, -0.1], [0.50000001, 0.5, 0.0]],
)
def test_own_levels_that_do_not_fall(levels: list[float]) -> None:
    with pytest.raises(WorkflowError, match="do not fall"):
        recipes.unipc(sigmas=levels)


def test_fixed_tables_refuse_other_numbers_of_steps() -> None:
    with pytest.raises(
        WorkflowError, match="flowmatch_distill can run 4 steps, not 5; set steps to 4"
    ):
        recipes.flowmatch_distill(5, 5.0)
    assert recipes.causvid(sigmas=[1.0, 0.5, 0.0]).schedule.timesteps.tolist() == [1000, 500]
    assert recipes.causvid(4, width=1536).schedule.timesteps.tolist() == [1000, 750, 500, 250]
    with pytest.raises(WorkflowError):
        recipes.causvid(9, width=1536)
    with pytest.raises(WorkflowError, match="shift"):
        recipes.unipc(4, 0.0)
    with pytest.raises(WorkflowError, match="steps"):
        recipes.unipc(0, 5.0)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: solver.name)
@pytest.mark.parametrize("width", [1536, 5120])
def test_a_solver_runs_the_numbers_of_steps_that_its_description_says(
    solver: Solver, width: int
) -> None:
    build, allowed = resolve(solver.build), solver.step_counts(width)
    for steps in (1, 2, 3, 4, 5, 9, 10, 50, 51):
        if allowed is None or steps in allowed:
            assert build(steps, 5.0, width=width).schedule.steps == steps
        else:
            with pytest.raises(WorkflowError, match=f"solver {solver.name} can run"):
                build(steps, 5.0, width=width)


def test_lightx2v_suggests_even_steps() -> None:
    timesteps = recipes.step_distill(8, 5.0).schedule.timesteps.tolist()
    assert recipes.step_distill().schedule.steps == 4
    want = [1000, 972.2, 937.5, 892.9, 833.3, 750, 625, 416.7]
    assert timesteps == pytest.approx(want, abs=0.05)
    listed = recipes.step_distill(shift=5.0, listed=[1000, 500]).schedule
    assert listed.sigmas.tolist() == pytest.approx([1.0, 0.833333, 0.0], abs=1e-6)


def test_denoise_strength_starts_late_and_mixes() -> None:
    whole = recipes.unipc(10, 5.0).schedule
    late = whole.for_strength(0.3)
    assert torch.equal(late.timesteps, whole.timesteps[10 - 3 - 1 :])
    assert whole.for_strength(1.0) is whole
    with pytest.raises(WorkflowError):
        whole.for_strength(0.0)
    clean = torch.full((1, 2, 1, 2, 2), 3.0)
    shapes = {"video": clean.shape}
    mixed = start_latents(late, shapes, noise_sources(1, shapes), clean={"video": clean})["video"]
    noise = noise_sources(1, shapes)["video"].draw(clean.shape)
    level = float(late.timesteps[0]) / 1000
    assert torch.allclose(mixed, level * noise + (1 - level) * 3.0)


def test_an_even_tail() -> None:
    schedule = recipes.euler(20, 8.0).schedule.with_even_tail()
    kept = recipes.euler(20, 8.0).schedule.timesteps
    kept = kept[kept > 500]
    tail = torch.tensor([500.0, 375.0, 250.0, 125.0])
    assert torch.allclose(schedule.timesteps, torch.cat([kept, tail]))
    assert float(schedule.sigmas[-1]) == 0.0
    assert schedule.with_even_tail(10).timesteps.tolist()[-1] == pytest.approx(50.0)


def test_an_even_tail_keeps_the_last_level_and_the_start() -> None:
    assert float(recipes.deis(20, 8.0).schedule.with_even_tail().sigmas[-1]) == pytest.approx(1e-6)
    stopped = Schedule.from_sigmas([1.0, 0.8, 0.6, 0.4, 0.1]).with_even_tail(2)
    assert stopped.sigmas.tolist() == pytest.approx([1.0, 0.8, 0.6, 0.5, 0.3, 0.1])
    early = Schedule.from_sigmas([1.0, 0.8, 0.6])
    assert early.with_even_tail() is early
    rcm = recipes.rcm(4).schedule
    assert rcm.with_even_tail(2).initial_scale == pytest.approx(rcm.initial_scale)
    assert rcm.initial_scale != 1.0


def test_shift_and_beta_keep_the_ends() -> None:
    assert shifted(1.0, 7.0) == 1.0
    assert shifted(0.0, 7.0) == 0.0
    grid = np.linspace(0.9, 0.1, 9)
    spaced = beta_spaced(grid)
    assert spaced[0] == pytest.approx(0.9)
    assert spaced[-1] == pytest.approx(0.1)
    assert spaced[0] - spaced[1] < grid[0] - grid[1]


def test_rcm_is_trigflow_in_other_words() -> None:
    schedule = recipes.rcm(4).schedule
    angles = torch.tensor([np.arctan(120.0), 1.5, 1.4, 1.0])
    norm = angles.cos() + angles.sin()
    assert torch.allclose(schedule.sigmas[:-1], (angles.sin() / norm).float(), atol=1e-7)
    assert schedule.initial_scale == pytest.approx(float(1 / norm[0]))
    shapes = {"video": (1, 2, 1, 2, 2)}
    started = start_latents(schedule, shapes, noise_sources(3, shapes))["video"]
    drawn = noise_sources(3, shapes)["video"].draw(shapes["video"])
    assert torch.allclose(started, drawn / norm[0].float())
    # pure noise of its own count at whatever level a slice begins
    late = schedule.sliced(2)
    assert late.initial_scale == pytest.approx(float(1 / norm[2]))
    assert recipes.unipc(8, 5.0).schedule.sliced(3).initial_scale == 1.0
