"""ER-SDE-Solver-3, as the WanVideoWrapper applies it to flow models.

Source: Cui et al., arXiv 2309.06169. The wrapper treats σ as if the signal were never scaled down
(α = 1), which is not the rectified-flow form of the paper; it is kept because its users have tuned
their settings to it.
"""

from __future__ import annotations

import math

from torch import Tensor

from wan_core.sampling.solvers.base import SolverBase

POINTS = 200


class ERSDE(SolverBase):
    """Order 1, 2, 3 as history grows; one draw a step.

    Memory: ``x0`` of the last step and ``slope``, its divided difference.
    """

    def step(self, velocity: Tensor, latents: Tensor, index: int) -> Tensor:
        """Latents after step ``index``; shapes are those of the latents."""
        sigma, target = self.sigmas[index], self.sigmas[index + 1]
        x0 = self.clean(velocity, latents, index)
        z = self.fresh_noise(latents)
        remembered = {"x0": x0}
        if target == 0:
            self.memory = remembered
            return x0
        ratio = _scale(target) / _scale(sigma)
        advanced = ratio * latents + (1 - ratio) * x0
        if index > 0:
            dt = target - sigma
            width = -dt / POINTS
            points = [target + width * k for k in range(POINTS)]
            inverse = [1 / _scale(point) for point in points]
            slope = (x0 - self.memory["x0"]) / (sigma - self.sigmas[index - 1])
            advanced = advanced + (dt + sum(inverse) * width * _scale(target)) * slope
            remembered["slope"] = slope
            if index > 1:
                curve = (slope - self.memory["slope"]) / ((sigma - self.sigmas[index - 2]) / 2)
                moment = sum((p - sigma) * w for p, w in zip(points, inverse, strict=True)) * width
                advanced = advanced + (dt * dt / 2 + moment * _scale(target)) * curve
        self.memory = remembered
        return advanced + math.sqrt(max(target**2 - (sigma * ratio) ** 2, 0.0)) * z


def _scale(sigma: float) -> float:
    """The noise scaling function of the paper's best solver."""
    return sigma * (math.exp(sigma**0.3) + 10)
