"""RES multistep: an exponential integrator of order 2 in t = −ln σ.

Source: "Restart and refined exponential solvers", arXiv 2308.02157.
"""

from __future__ import annotations

import math

from torch import Tensor

from wan_core.sampling.solvers.base import SolverBase


class ResMultistep(SolverBase):
    """Euler on the first step and onto σ = 0, order 2 between. Memory: ``x0`` of the last step."""

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        sigma, target = self.sigmas[index], self.sigmas[index + 1]
        x0 = self.clean(velocity, latents, index)
        if index == 0 or target == 0:
            advanced = latents + (target - sigma) * velocity
        else:
            h = math.log(sigma / target)
            c2 = math.log(sigma / self.sigmas[index - 1]) / h
            phi1 = math.expm1(-h) / -h
            phi2 = (phi1 - 1) / -h
            slope = phi2 / c2
            advanced = math.exp(-h) * latents + h * (
                (phi1 - slope) * x0 + slope * self.memory["x0"]
            )
        self.memory = {"x0": x0}
        return advanced
