"""DPM-Solver++(2M), plain and as a stochastic equation (data prediction, midpoint).

Source: Lu et al., arXiv 2211.01095.
"""

from __future__ import annotations

import math

from torch import Tensor

from wan_core.sampling.solvers.base import SolverBase, log_snr


class DPMSolver(SolverBase):
    """Order 1 on the first and the last step, order 2 between. Memory: ``x0`` of the last step."""

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        x0 = self.clean(velocity, latents, index)
        keep, weight, fresh = self._coefficients(index)
        advanced = keep * latents + weight * x0
        if 0 < index < self.steps - 1:
            here = log_snr(self.sigmas[index])
            r = (here - log_snr(self.sigmas[index - 1])) / (log_snr(self.sigmas[index + 1]) - here)
            advanced = advanced + (0.5 * weight / r) * (x0 - self.memory["x0"])
        if fresh is not None:
            advanced = advanced + fresh * self.fresh_noise(latents)
        self.memory = {"x0": x0}
        return advanced

    def _coefficients(self, index: int) -> tuple[float, float, float | None]:
        """Factors of the latents, the clean prediction and fresh noise (None: none is drawn)."""
        sigma, target, h = self._interval(index)
        return target / sigma, -(1 - target) * math.expm1(-h), None

    def _interval(self, index: int) -> tuple[float, float, float]:
        sigma, target = self.sigmas[index], self.sigmas[index + 1]
        return sigma, target, log_snr(target) - log_snr(sigma)


class StochasticDPMSolver(DPMSolver):
    """The stochastic variant (sde-dpmsolver++): one draw a step, the last included."""

    def _coefficients(self, index: int) -> tuple[float, float, float | None]:
        sigma, target, h = self._interval(index)
        renewed = -math.expm1(-2 * h)
        keep = target / sigma * math.exp(-h)
        return keep, (1 - target) * renewed, target * math.sqrt(renewed)
