"""Solvers: what they must solve exactly, how fast they converge, what they remember."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wan_core.contract.lazy import resolve
from wan_core.sampling import recipes
from wan_core.sampling.catalog import SOLVERS
from wan_core.sampling.noise import SeededNoise
from wan_core.sampling.recipes import SamplerSetup
from wan_core.sampling.solvers import DEIS, UniPC

SHAPE = (1, 3, 2, 2, 2)


def build(name: str, steps: int | None = None) -> SamplerSetup:
    described = next(s for s in SOLVERS if s.name == name)
    setup: SamplerSetup = resolve(described.build)(
        steps or max(described.fixed_steps, default=9), 5.0
    )
    return setup


def velocity(x: Tensor, t: float) -> Tensor:
    return 0.7 * x - (0.4 + t / 1000) + 0.3 * torch.tanh(x)


def run(setup: SamplerSetup, x: Tensor, *, resume_at: int | None = None) -> Tensor:
    solver = setup.new_solver(SeededNoise(3))
    for index in range(setup.schedule.steps):
        if index == resume_at:
            state, noise = solver.state(), SeededNoise(99)
            drawn = solver.noise.state()  # type: ignore[attr-defined]
            noise.load_state(drawn)
            solver = setup.new_solver(noise)
            solver.load_state(state)
        v = velocity(x, float(setup.schedule.timesteps[index]))
        x = solver.step(v, x, index)
    return x


@pytest.mark.parametrize("name", [s.name for s in SOLVERS if s.name != "vibt_unipc"])
def test_a_sure_prediction_is_reached(name: str) -> None:
    """When every velocity points at one clean video, the last step lands on it."""
    clean = torch.linspace(-2, 2, 24).view(SHAPE)
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    setup = build(name)
    solver = setup.new_solver(SeededNoise(1))
    for index in range(setup.schedule.steps):
        sigma = float(setup.schedule.sigmas[index])
        x = solver.step((x - clean) / sigma, x, index)
    if name == "sa_ode_stable":  # shortens its last steps on purpose
        assert float((x - clean).abs().max()) < 0.2
    else:
        assert torch.allclose(x, clean, atol=2e-5)


@pytest.mark.parametrize("name", [s.name for s in SOLVERS])
def test_resumed_equals_uninterrupted(name: str) -> None:
    setup, x = build(name), torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    whole = run(setup, x)
    assert bool(torch.isfinite(whole).all())
    for index in range(1, setup.schedule.steps):
        assert torch.equal(run(setup, x, resume_at=index), whole)


@pytest.mark.parametrize("name", [s.name for s in SOLVERS])
def test_only_stochastic_solvers_draw(name: str) -> None:
    class Counting(SeededNoise):
        draws = 0

        def draw(self, shape: object) -> Tensor:
            self.draws += 1
            return super().draw(shape)  # type: ignore[arg-type]

    setup, noise = build(name), Counting(1)
    solver, x = setup.new_solver(noise), torch.ones(SHAPE)
    for index in range(setup.schedule.steps):
        x = solver.step(velocity(x, 0.0), x, index)
    described = next(s for s in SOLVERS if s.name == name)
    assert noise.draws == (setup.schedule.steps if described.stochastic else 0)


@pytest.mark.parametrize("name", ["unipc", "dpm++", "deis", "res_multistep"])
def test_second_order_solvers_converge_faster_than_euler(name: str) -> None:
    """On levels 0.9 … 0.1 of a smooth field, halving the step divides the error by about four."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float32)

    def at(solver: str, steps: int) -> Tensor:
        levels = torch.linspace(0.9, 0.1, steps + 1).tolist()
        setup: SamplerSetup = resolve(next(s.build for s in SOLVERS if s.name == solver))(
            sigmas=levels
        )
        stepper, y = setup.new_solver(SeededNoise(0)), x
        for index in range(steps):
            # the exact level, not the truncated timestep, or rounding would hide the order
            y = stepper.step(velocity(y, 1000 * levels[index]), y, index)
        return y

    exact = at("unipc", 600)

    def error(solver: str, steps: int) -> float:
        return float((at(solver, steps) - exact).abs().max())

    assert error(name, 20) < 0.25 * error("euler", 20)
    assert error(name, 10) / error(name, 20) > 2.5


def test_unipc_and_dpm_stay_finite_from_level_one() -> None:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    for recipe in (recipes.unipc, recipes.dpmpp, recipes.deis, recipes.dpmpp_sde):
        for levels in ([1.0, 0.0], [1.0, 0.5, 0.0], [1.0, 0.9, 0.6, 0.3, 0.0]):
            assert bool(torch.isfinite(run(recipe(sigmas=levels), x)).all())


def test_deis_is_euler_plus_a_correction() -> None:
    """The textbook formula of order 2, in float64, where 1/α does not hurt."""
    schedule = recipes.deis(20, 5.0).schedule
    solver = DEIS(schedule, SeededNoise(0))
    x, eps_before = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)), None
    s = schedule.sigmas.double()
    for index in range(6):
        sigma, target = s[index], s[index + 1]
        v = velocity(x, 1000 * float(sigma))
        stepped = solver.step(v, x, index)
        alpha, next_alpha = 1 - sigma, 1 - target
        eps = x.double() + alpha * v.double()
        rho, next_rho = sigma / alpha, target / next_alpha
        if eps_before is None:
            want = next_alpha * (x.double() / alpha + (next_rho - rho) * eps)
        else:
            before = s[index - 1] / (1 - s[index - 1])

            def integral(t: Tensor, b: Tensor, c: Tensor) -> Tensor:
                return t * (t.log() - c.log() - 1) / (b.log() - c.log())

            c1 = integral(next_rho, rho, before) - integral(rho, rho, before)
            c2 = integral(next_rho, before, rho) - integral(rho, before, rho)
            want = next_alpha * (x.double() / alpha + c1 * eps + c2 * eps_before)
        assert torch.allclose(stepped.double(), want, atol=1e-5)
        x, eps_before = stepped, eps


def test_unipc_remembers_three_tensors() -> None:
    solver = UniPC(recipes.unipc(5, 5.0).schedule, SeededNoise(0))
    x = torch.ones(SHAPE)
    for index in range(3):
        x = solver.step(velocity(x, 500.0), x, index)
    assert set(solver.state()) == {"x0", "x0_before", "corrected"}


def test_the_bridge_ends_clean_in_the_last_step_of_any_slice() -> None:
    schedule = recipes.vibt_unipc(8, 5.0).schedule
    x = torch.ones(SHAPE)
    for part in (schedule, schedule.sliced(0, 3), schedule.sliced(5)):
        solver = recipes.vibt_unipc(8, 5.0).on(part).new_solver(SeededNoise(0))
        timestep = int(part.timesteps[-1])
        moved = solver.step(2 * x, x, part.steps - 1)
        assert torch.allclose(moved, x - 2 * (timestep + 1) / 1000, atol=1e-6)
