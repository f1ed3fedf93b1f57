"""The solvers by name. Importing this module imports neither torch nor any solver.

Names: ``unipc`` and ``dpm++`` are Wan's own (Wan-Video repositories); every other bare name is that
of the WanVideoWrapper, with its schedule. A prefix names another implementation's schedule where it
differs: ``kijai/…`` (the wrapper's), ``diffusers/…``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wan_core.contract.descriptions import Solver
from wan_core.contract.errors import WorkflowError

WIDTH_14B = 5120
"""Width of the 14B transformer."""


def _solver(
    name: str,
    recipe: str,
    summary: str,
    *,
    stochastic: bool = False,
    fixed_steps: tuple[int, ...] = (),
    most_steps: int | None = None,
    width_steps: Mapping[int, tuple[int, ...]] | None = None,
) -> Solver:
    build = f"wan_core.sampling.recipes:{recipe}"
    return Solver(name, summary, build, stochastic, fixed_steps, most_steps, width_steps or {})


SOLVERS: tuple[Solver, ...] = (
    _solver("unipc", "unipc", "UniPC, Wan's default: predictor-corrector of order 2"),
    _solver("dpm++", "dpmpp", "DPM-Solver++(2M), Wan's alternative"),
    _solver("euler", "euler", "Euler on the velocity"),
    _solver("deis", "deis", "DEIS of order 2"),
    _solver("res_multistep", "res_multistep", "exponential integrator of order 2"),
    _solver("sa_ode_stable", "sa_ode_stable", "Adams-Bashforth, calmed towards the end"),
    _solver("dpm++_sde", "dpmpp_sde", "DPM-Solver++(2M) with fresh noise", stochastic=True),
    _solver("er_sde", "er_sde", "ER-SDE-Solver-3 with fresh noise", stochastic=True),
    _solver("lcm", "lcm", "consistency models: clean, then fresh noise", stochastic=True),
    _solver("vibt_unipc", "vibt_unipc", "ViBT's bridge with fresh noise", stochastic=True),
    _solver("unipc/beta", "unipc_beta", "UniPC, more steps near both ends"),
    _solver("dpm++/beta", "dpmpp_beta", "DPM-Solver++(2M), more steps near both ends"),
    _solver("euler/beta", "euler_beta", "Euler, more steps near both ends"),
    _solver(
        "dpm++_sde/beta",
        "dpmpp_sde_beta",
        "DPM-Solver++(2M) with fresh noise, more steps near both ends",
        stochastic=True,
    ),
    _solver(
        "lcm/beta",
        "lcm_beta",
        "consistency models, more steps near both ends",
        stochastic=True,
    ),
    _solver("lightx2v", "step_distill", "LightX2V's distilled steps, normally 4"),
    _solver(
        "longcat_distill_euler",
        "longcat_distill_euler",
        "LongCat's distilled steps, at most 50",
        most_steps=50,
    ),
    _solver(
        "flowmatch_causvid",
        "causvid",
        "CausVid's distilled steps: at most 9 for 14B, 4 for others",
        fixed_steps=(4,),
        width_steps={WIDTH_14B: tuple(range(1, 10))},
    ),
    _solver("flowmatch_distill", "flowmatch_distill", "four distilled steps", fixed_steps=(4,)),
    _solver("flowmatch_pusa", "flowmatch_pusa", "Euler on even levels; Pusa's"),
    _solver("rcm", "rcm", "rCM's distilled steps", stochastic=True, fixed_steps=(1, 2, 3, 4)),
    _solver("kijai/unipc", "kijai_unipc", "UniPC with the WanVideoWrapper's schedule"),
    _solver("kijai/dpm++", "kijai_dpmpp", "DPM-Solver++(2M) with the WanVideoWrapper's schedule"),
    _solver("diffusers/unipc", "diffusers_unipc", "UniPC with diffusers' schedule"),
    _solver("diffusers/dpm++", "diffusers_dpmpp", "DPM-Solver++(2M) with diffusers' schedule"),
)
"""Every solver of the core, the recommended ones first."""


def check_steps(solver: str, steps: int | None, allowed: Sequence[int] | None) -> int:
    """The number of steps, unless a solver's table of noise levels does not serve it.

    Args:
        solver: its name, for the message.
        allowed: what :meth:`wan_core.contract.descriptions.Solver.step_counts` says; None = any.

    Raises:
        WorkflowError: the remedy names the nearest number that is served.
    """
    if steps is None or steps < 1:
        raise WorkflowError(f"solver {solver} needs a number of steps", remedy="set steps")
    if allowed is None or steps in allowed:
        return steps
    nearest = min(allowed, key=lambda count: abs(count - steps))
    every = len(allowed) > 2 and allowed[-1] - allowed[0] == len(allowed) - 1
    words = f"{allowed[0]} to {allowed[-1]}" if every else " or ".join(map(str, allowed))
    raise WorkflowError(
        f"solver {solver} can run {words} steps, not {steps}",
        remedy=f"set steps to {nearest}, or choose another solver",
    )


def named(name: str) -> Solver:
    """The core's solver of that name."""
    return next(solver for solver in SOLVERS if solver.name == name)
