"""Recipes: a named solver on its grid. The names are in :mod:`wan_core.sampling.catalog`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from wan_core.contract.errors import WorkflowError
from wan_core.contract.protocols import Solver
from wan_core.sampling import grids
from wan_core.sampling.catalog import WIDTH_14B, check_steps, named
from wan_core.sampling.noise import NoiseSource
from wan_core.sampling.schedules import Schedule
from wan_core.sampling.solvers.deis import DEIS
from wan_core.sampling.solvers.dpm import DPMSolver, StochasticDPMSolver
from wan_core.sampling.solvers.er_sde import ERSDE
from wan_core.sampling.solvers.euler import LCM, Bridge, Euler
from wan_core.sampling.solvers.res_multistep import ResMultistep
from wan_core.sampling.solvers.sa_ode import StableAdamsBashforth
from wan_core.sampling.solvers.unipc import UniPC

MakeSolver = Callable[[Schedule, NoiseSource], Solver]


@attrs.frozen(eq=False)
class SamplerSetup:
    """A schedule and the solver that runs on it.

    Change the schedule before asking for solvers: ``setup.on(setup.schedule.sliced(0, 3))``.
    """

    schedule: Schedule
    make_solver: MakeSolver

    def on(self, schedule: Schedule) -> SamplerSetup:
        """The same solver on another schedule."""
        return attrs.evolve(self, schedule=schedule)

    def new_solver(self, noise: NoiseSource) -> Solver:
        """A solver without history, for one named latent."""
        return self.make_solver(self.schedule, noise)


@attrs.frozen
class Recipe:
    """How a named solver is built.

    Attributes:
        solver: class of the solver.
        grid: noise levels from number of steps and shift.
        name: its name in :data:`~wan_core.sampling.catalog.SOLVERS`, where that limits the number
            of steps; None = any number.
    """

    solver: MakeSolver
    grid: Callable[[int, float], Schedule]
    name: str | None = None

    def __call__(
        self,
        steps: int | None = None,
        shift: float = 5.0,
        *,
        sigmas: Sequence[float] | None = None,
        width: int | None = None,
    ) -> SamplerSetup:
        """The solver on its schedule.

        Args:
            steps: number of steps; not needed with ``sigmas``.
            shift: how far the grid leans towards high noise.
            sigmas: the user's own noise levels including the last; used verbatim, no shift.
            width: width of the transformer (some tables depend on it).

        Raises:
            WorkflowError: the number of steps or the noise levels cannot be used.
        """
        if sigmas is not None:
            return SamplerSetup(Schedule.from_sigmas(sigmas), self.solver)
        if not shift > 0:
            raise WorkflowError(f"the shift is {shift}", remedy="make it a number above 0, e.g. 5")
        allowed = named(self.name).step_counts(width) if self.name else None
        counted = check_steps(self.name or self.solver.__name__, steps, allowed)
        return SamplerSetup(self.grid(counted, shift), self.solver)


unipc = Recipe(UniPC, grids.wan_unipc)
dpmpp = Recipe(DPMSolver, grids.wan_explicit)

kijai_unipc = Recipe(UniPC, grids.wrapper_multistep)
kijai_dpmpp = Recipe(DPMSolver, grids.wrapper_multistep)
unipc_beta = Recipe(UniPC, grids.wrapper_multistep_beta)
dpmpp_beta = Recipe(DPMSolver, grids.wrapper_multistep_beta)
dpmpp_sde = Recipe(StochasticDPMSolver, grids.wrapper_multistep)
dpmpp_sde_beta = Recipe(StochasticDPMSolver, grids.wrapper_multistep_beta)

diffusers_unipc = Recipe(UniPC, grids.diffusers_unipc)
diffusers_dpmpp = Recipe(DPMSolver, grids.diffusers_dpm)

euler = Recipe(Euler, grids.flow_euler)
euler_beta = Recipe(Euler, grids.flow_euler_beta)
lcm = Recipe(LCM, grids.flow_euler)
lcm_beta = Recipe(LCM, grids.flow_euler_beta)
deis = Recipe(DEIS, grids.deis)
res_multistep = Recipe(ResMultistep, grids.res_multistep)
er_sde = Recipe(ERSDE, grids.res_multistep)
sa_ode_stable = Recipe(StableAdamsBashforth, grids.sa_ode)
vibt_unipc = Recipe(Bridge, grids.diffusers_unipc)

longcat_distill_euler = Recipe(Euler, grids.longcat_distill, "longcat_distill_euler")
flowmatch_distill = Recipe(Euler, grids.distill, "flowmatch_distill")
flowmatch_pusa = Recipe(Euler, grids.even)
rcm = Recipe(LCM, grids.rcm, "rcm")
causvid_14b = Recipe(Euler, grids.causvid_14b, "flowmatch_causvid")
causvid_small = Recipe(Euler, grids.causvid_small, "flowmatch_causvid")


def causvid(
    steps: int | None = None,
    shift: float = 5.0,
    *,
    sigmas: Sequence[float] | None = None,
    width: int | None = None,
) -> SamplerSetup:
    """CausVid's distilled steps: up to 9 for the 14B transformer (the default), 4 for others."""
    width = width or WIDTH_14B
    recipe = causvid_14b if width == WIDTH_14B else causvid_small
    return recipe(steps, shift, sigmas=sigmas, width=width)


def step_distill(
    steps: int | None = None,
    shift: float = 5.0,
    *,
    sigmas: Sequence[float] | None = None,
    width: int | None = None,
    listed: Sequence[int] | None = None,
) -> SamplerSetup:
    """LightX2V's distilled steps.

    Args:
        steps: number of steps, None = 4.
        listed: whole timesteps before the shift, falling from at most 1000; by default ``steps``
            even ones, which for 4 steps is LightX2V's own list 1000, 750, 500, 250.
    """

    def grid(count: int, level: float) -> Schedule:
        even = [round(1000 * (count - k) / count) for k in range(count)]
        return grids.step_distill(listed or even, level)

    count = len(listed) if listed is not None else 4 if steps is None else steps
    return Recipe(Euler, grid)(count, shift, sigmas=sigmas)
