"""The solvers by name. Importing this module imports neither torch nor any solver.

Names: ``unipc`` and ``dpm++`` are Wan's own (Wan-Video repositories); every other bare name is that
of the WanVideoWrapper, with its schedule. A prefix names another implementation's schedule where it
differs: ``kijai/…`` (the wrapper's), ``diffusers/…``.
"""

from __future__ import annotations

from wan_core.contract.descriptions import Solver


def _solver(
    name: str,
    recipe: str,
    summary: str,
    *,
    stochastic: bool = False,
    fixed_steps: tuple[int, ...] = (),
) -> Solver:
    build = f"wan_core.sampling.recipes:{recipe}"
    return Solver(name, summary, build, stochastic=stochastic, fixed_steps=fixed_steps)


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
    _solver("longcat_distill_euler", "longcat_distill_euler", "LongCat's distilled steps"),
    _solver("flowmatch_causvid", "causvid", "CausVid's distilled steps: 9 for 14B, 4 for 1.3B"),
    _solver("flowmatch_distill", "flowmatch_distill", "four distilled steps", fixed_steps=(4,)),
    _solver("flowmatch_pusa", "flowmatch_pusa", "Euler on even levels; Pusa's"),
    _solver("rcm", "rcm", "rCM's distilled steps", stochastic=True, fixed_steps=(1, 2, 3, 4)),
    _solver("kijai/unipc", "kijai_unipc", "UniPC with the WanVideoWrapper's schedule"),
    _solver("kijai/dpm++", "kijai_dpmpp", "DPM-Solver++(2M) with the WanVideoWrapper's schedule"),
    _solver("diffusers/unipc", "diffusers_unipc", "UniPC with diffusers' schedule"),
    _solver("diffusers/dpm++", "diffusers_dpmpp", "DPM-Solver++(2M) with diffusers' schedule"),
)
"""Every solver of the core, the recommended ones first."""
