"""Solvers: each advances one named latent through a schedule.

A solver is built from a :class:`~wan_core.sampling.schedules.Schedule` and a source of noise, has
``step(velocity, latents, index)`` and gives all it remembers as ``state()``. Which solver runs on
which grid is in :mod:`wan_core.sampling.recipes`, under which name in
:mod:`wan_core.sampling.catalog`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.sampling.solvers.base import SolverBase as SolverBase
    from wan_core.sampling.solvers.deis import DEIS as DEIS
    from wan_core.sampling.solvers.dpm import DPMSolver as DPMSolver
    from wan_core.sampling.solvers.dpm import StochasticDPMSolver as StochasticDPMSolver
    from wan_core.sampling.solvers.er_sde import ERSDE as ERSDE
    from wan_core.sampling.solvers.euler import LCM as LCM
    from wan_core.sampling.solvers.euler import Bridge as Bridge
    from wan_core.sampling.solvers.euler import Euler as Euler
    from wan_core.sampling.solvers.res_multistep import ResMultistep as ResMultistep
    from wan_core.sampling.solvers.sa_ode import StableAdamsBashforth as StableAdamsBashforth
    from wan_core.sampling.solvers.unipc import UniPC as UniPC

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Bridge": "euler",
        "DEIS": "deis",
        "DPMSolver": "dpm",
        "ERSDE": "er_sde",
        "Euler": "euler",
        "LCM": "euler",
        "ResMultistep": "res_multistep",
        "SolverBase": "base",
        "StableAdamsBashforth": "sa_ode",
        "StochasticDPMSolver": "dpm",
        "UniPC": "unipc",
    },
)
